#!/usr/bin/env bash
# A machine to walk on: a clean root with a systemd of its own, in namespaces of its own.
#
#   unshare --mount machine.sh DIRECTORY REPOSITORY PROGRAM
#
# DIRECTORY is an empty one, where the root is mounted; REPOSITORY is copied to /srv/entitled; PROGRAM
# is what `cargo build --release` would have built. Prints `init PID` (as seen from outside) once
# systemd has the machine. Lives until its stdin is closed, and takes all that runs in it along: the
# first process of a PID namespace can't die without the others.
#
# Nothing of the system around it can be written: /usr, /etc and the list of packages are copies or
# overlays in memory, /sys and /proc/sys are read-only, the network is a loopback of its own, and the
# capabilities that reach the hardware or the clock are given up. Needs root, and a kernel with
# overlayfs and cgroup v2; nothing is downloaded.
set -euo pipefail

fail() { printf 'the machine can'\''t be made: %s\n' "$*" >&2; exit 1; }

# Where what PID 1 is made of comes from, and what is asked on the way.
needs() {
    [ "$(id -u)" -eq 0 ] || fail "it must run as root"
    local name
    [ -x /lib/systemd/systemd ] || fail "systemd is missing; apt-get install systemd"
    for name in unshare setpriv mount ip tar apt-get dbus-daemon prometheus promtool curl jq; do
        command -v "$name" >/dev/null || fail "$name is missing; .ci/run installs what is needed"
    done
    [ -L /lib ] || fail "/lib must be a link to usr/lib, as it is since Debian 12"
}

# The outer part: mounts and the control group, then PID 1, then waiting for the end.
outer() {
    needs
    root=$1 repository=$2 program=$3 script=$(realpath "$0")
    mount --make-rprivate /
    mount -t tmpfs -o mode=0755 walk "$root"
    mkdir -p "$root/.walk/cgroup"
    cgroups=$root/.walk/cgroup
    mount -t cgroup2 none "$cgroups" || fail "the kernel has no cgroup v2"
    own=$(sed -n 's/^0:://p' /proc/self/cgroup)
    # Named from here on, so that it is found even where somebody clears the mount away.
    cd "$cgroups$own"
    group=entitled-walk-$$
    mkdir "$group"
    trap end EXIT
    # From inside this looks like the root of all groups.
    bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$group" \
        setpriv --pdeathsig KILL \
        unshare --cgroup --mount --pid --uts --ipc --net --fork --kill-child \
        "$script" --inner "$root" "$repository" "$program" </dev/null &
    outermost=$!
    # Until whoever wants the machine is gone.
    read -r _ || true
}

end() {
    [ -z "${outermost-}" ] || { kill -KILL "$outermost" && wait "$outermost"; } 2>/dev/null || true
    # What was in it ends a moment later.
    local inner_group tries
    for tries in $(seq 1000); do
        if grep -q 'populated 0' "$group/cgroup.events"; then break; fi
        sleep 0.01
    done
    [ "$tries" -lt 1000 ] || fail "something in it doesn't end"
    find "$group" -depth -type d | while read -r inner_group; do rmdir "$inner_group"; done
}

# The inner part: fills the root, moves into it and becomes systemd.
inner() {
    root=$1 repository=$2 program=$3
    local host_pid name
    # This /proc still is that of outside.
    read -r host_pid _ </proc/self/stat
    cd "$root"
    mkdir -p etc/systemd/system etc/default mnt opt proc root run srv/entitled sys dev tmp usr \
        var/{backups,cache/apt,lib/{apt/lists/partial,dpkg,prometheus},log,tmp}
    # Packages are what is installed; there is nowhere to get others from.
    mkdir -p etc/apt/{apt.conf,preferences,sources.list,trusted.gpg}.d
    chmod 1777 tmp var/tmp
    chmod 0700 root
    over usr
    over var/lib/dpkg
    for name in bin sbin lib lib32 lib64 libx32; do
        if [ -L "/$name" ]; then cp -a "/$name" "$name"; fi
    done
    # What is in /usr/local is this system's own.
    mount -t tmpfs -o mode=0755 walk usr/local
    mkdir -p usr/local/{bin,lib,sbin,share}
    for name in alternatives ca-certificates.conf dbus-1 debian_version default/prometheus \
        groff group ld.so.cache ld.so.conf ld.so.conf.d manpath.config nsswitch.conf os-release \
        pam.d passwd prometheus security shadow ssl; do
        if [ -e "/etc/$name" ]; then cp -a "/etc/$name" "etc/$name"; fi
    done
    chown prometheus: var/lib/prometheus
    echo newcomer >etc/hostname
    printf '127.0.0.1 localhost newcomer\n::1 localhost\n' >etc/hosts
    : >etc/fstab
    od -An -N16 -tx1 /dev/urandom | tr -d ' ' >etc/machine-id
    # Nobody logs in here, and terminals there are none.
    for name in console-getty.service getty.target systemd-logind.service; do
        ln -s /dev/null "etc/systemd/system/$name"
    done
    tar -C "$repository" --exclude=./target --exclude=./.git --exclude=node_modules -cf - . |
        tar -C srv/entitled --no-same-owner -xf -
    touch usr/local/lib/entitled-as-built
    mount --bind "$program" usr/local/lib/entitled-as-built
    install -m 0755 "$repository/tests/newcomer/cargo" usr/local/bin/cargo
    api_file_systems
    ip link set lo up
    hostname newcomer
    mkdir .walk/old
    pivot_root . .walk/old
    cd /
    umount --lazy /.walk/old
    # As on any machine with systemd, which leaves this to who made the container: else the mounts of
    # credentials would not be seen by their services.
    mount --make-rshared /
    printf 'init %s\n' "$host_pid"
    exec env -i container=walk LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set "$given_up" \
        /lib/systemd/systemd --unit=multi-user.target --log-target=journal >/dev/null 2>&1
}

# Whatever is not of this machine's namespaces.
given_up=-sys_time,-sys_module,-sys_rawio,-syslog,-audit_control,-audit_read,-mac_admin,-mac_override
given_up+=,-bpf,-perfmon,-wake_alarm,-block_suspend

# The same as outside, but what is written stays in memory.
over() {
    local name=${1//\//-}
    mkdir -p ".walk/$name/"{upper,work}
    mount -t overlay -o "lowerdir=/$1,upperdir=.walk/$name/upper,workdir=.walk/$name/work" walk "$1" ||
        fail "the kernel has no overlayfs"
}

api_file_systems() {
    local name
    mount -t proc -o nosuid,nodev,noexec proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    for name in sysrq-trigger kcore kmsg; do
        if [ -e "proc/$name" ]; then mount --bind /dev/null "proc/$name"; fi
    done
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=0755,nosuid walk dev
    for name in null zero full random urandom tty; do
        touch "dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    touch dev/console
    mount --bind /dev/null dev/console
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    mount -t tmpfs -o mode=1777,nosuid,nodev walk dev/shm
    ln -s /proc/self/fd dev/fd
    for name in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${name%:*}" "dev/${name#*:}"; done
    mount -t tmpfs -o mode=0755,nosuid,nodev walk run
}

if [ "$1" = --inner ]; then
    inner "${@:2}"
else
    outer "$@"
fi
