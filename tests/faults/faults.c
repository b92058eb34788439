/* A disk that fails on demand, for one process: preloaded, it makes calls on files of one directory
 * fail as a plan says that the test keeps in a file.
 *
 * FAULTS_DIRECTORY  the directory
 * FAULTS_PLAN       the file with a struct plan, which the test rewrites while the process runs
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, FLUSHES = 4, SIZES = 8, OPENS = 16 };

struct plan {
    int64_t calls;    /* which kinds of calls fail; 0: none */
    int64_t error;    /* with which errno */
    int64_t skip;     /* how many succeed before */
    int64_t times;    /* how many fail; negative: all */
    int64_t is_torn;  /* a write that fails leaves its first half behind */
    int64_t seen;     /* how many came by */
    int64_t failed;   /* how many of them failed */
    char name[64];    /* only files of this name; empty: all of the directory */
};

static struct plan *plan;
static const char *directory;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTS_PLAN");
    directory = getenv("FAULTS_DIRECTORY");
    if (!file || !directory) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR);
    if (fd < 0) abort();
    void *at = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) abort();
    syscall(SYS_close, fd);
    plan = at;
}

static int fails_at(int call, const char *path) {
    size_t length = strlen(directory);
    if (strncmp(path, directory, length) || path[length] != '/') return 0;
    if (plan->name[0]) {
        const char *name = strrchr(path, '/') + 1;
        if (strcmp(name, plan->name)) return 0;
    }
    int64_t number = __atomic_fetch_add(&plan->seen, 1, __ATOMIC_SEQ_CST);
    if (number < plan->skip) return 0;
    if (plan->times >= 0 && number >= plan->skip + plan->times) return 0;
    __atomic_fetch_add(&plan->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)plan->error;
    return 1;
}

static int is_asked(int call) {
    return plan && (__atomic_load_n(&plan->calls, __ATOMIC_SEQ_CST) & call);
}

static int fails(int call, int fd) {
    if (!is_asked(call)) return 0;
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails_at(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    if (!fails(WRITES, fd)) return NEXT(pwrite64)(fd, bytes, count, at);
    int error = errno;
    if (plan->is_torn) NEXT(pwrite64)(fd, bytes, count / 2, at);
    errno = error;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!fails(WRITES, fd)) return NEXT(write)(fd, bytes, count);
    int error = errno;
    if (plan->is_torn) NEXT(write)(fd, bytes, count / 2);
    errno = error;
    return -1;
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    return fails(READS, fd) ? -1 : NEXT(pread64)(fd, bytes, count, at);
}

ssize_t read(int fd, void *bytes, size_t count) {
    return fails(READS, fd) ? -1 : NEXT(read)(fd, bytes, count);
}

int fsync(int fd) { return fails(FLUSHES, fd) ? -1 : NEXT(fsync)(fd); }

int fdatasync(int fd) { return fails(FLUSHES, fd) ? -1 : NEXT(fdatasync)(fd); }

int ftruncate64(int fd, off64_t size) { return fails(SIZES, fd) ? -1 : NEXT(ftruncate64)(fd, size); }

static int open_fails(const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    return writes && is_asked(OPENS) && fails_at(OPENS, path);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return open_fails(path, flags) ? -1 : NEXT(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return open_fails(path, flags) ? -1 : NEXT(open)(path, flags, mode);
}

int rename(const char *from, const char *to) {
    return is_asked(OPENS) && fails_at(OPENS, to) ? -1 : NEXT(rename)(from, to);
}

int unlink(const char *path) {
    return is_asked(OPENS) && fails_at(OPENS, path) ? -1 : NEXT(unlink)(path);
}
