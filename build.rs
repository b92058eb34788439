//! Tells cargo about the migrations.

fn main() {
    // `embed_migrations!` reads the folder at compile time, but cargo does not know: without this
    // line a new migration is silently left out of the build.
    println!("cargo::rerun-if-changed=migrations");
}
