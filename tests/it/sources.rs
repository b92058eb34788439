//! The files of the repository, and the names that they use.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;
use syn::visit::{self, Visit};

static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[A-Za-z_]\w*(?: ?:: ?[A-Za-z_]\w*)+").unwrap());

/// Where the repository lies.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub struct Source {
    /// From the root: `src/http/mod.rs`.
    pub name: String,
    pub text: String,
}

impl Source {
    /// The first word below `src`.
    pub fn layer(&self) -> &str {
        let below = self.name.strip_prefix("src/").unwrap();
        below.split(['/', '.']).next().unwrap()
    }

    /// Whether nothing of it is in the program.
    pub fn is_test(&self) -> bool {
        self.name.contains("/tests/") || self.name.ends_with("tests.rs")
    }

    fn parsed(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// The files below a folder whose names end so.
pub fn sources(folder: &str, extensions: &[&str]) -> Vec<Source> {
    let (mut folders, mut all) = (vec![root().join(folder)], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                // What npm has installed is not ours.
                if !path.ends_with("node_modules") {
                    folders.push(path);
                }
            } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
                all.push(path);
            }
        }
    }
    all.sort();
    let read = |path: PathBuf| Source {
        name: path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/"),
        text: std::fs::read_to_string(path).unwrap(),
    };
    let all: Vec<_> = all.into_iter().map(read).collect();
    assert!(!all.is_empty(), "nothing in {folder}");
    all
}

/// Every path that a file names, in imports, code, attributes and macros: `crate::store::Store`.
#[derive(Default)]
pub struct Names {
    pub paths: BTreeSet<String>,
    /// How many functions and blocks wait.
    pub asyncs: usize,
    /// Calls of `.write(`: on what, and in which function.
    pub writes: Vec<(String, String)>,
    function: String,
    with_tests: bool,
}

impl Names {
    /// The names in a file, with or without those of its tests.
    pub fn of(source: &Source, with_tests: bool) -> Self {
        let mut names = Self { with_tests, ..Self::default() };
        names.visit_file(&source.parsed());
        names
    }

    fn tree(&mut self, before: &str, tree: &syn::UseTree) {
        let join = |name: &syn::Ident| match before {
            "" => name.to_string(),
            before => format!("{before}::{name}"),
        };
        match tree {
            syn::UseTree::Path(path) => self.tree(&join(&path.ident), &path.tree),
            syn::UseTree::Name(name) => drop(self.paths.insert(join(&name.ident))),
            syn::UseTree::Rename(rename) => drop(self.paths.insert(join(&rename.ident))),
            syn::UseTree::Glob(_) => drop(self.paths.insert(format!("{before}::*"))),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(before, tree));
            }
        }
    }

    /// Inside of a macro or an attribute there are only tokens: `a :: b`.
    fn tokens(&mut self, text: &str) {
        for found in PATH.find_iter(text) {
            self.paths.insert(found.as_str().replace(' ', ""));
        }
    }

    /// First words.
    pub fn crates(&self) -> BTreeSet<&str> {
        self.paths.iter().filter_map(|path| path.split("::").next()).collect()
    }

    /// The modules of our own.
    pub fn modules(&self) -> BTreeSet<&str> {
        let ours = self.paths.iter().filter_map(|path| path.strip_prefix("crate::"));
        ours.filter_map(|path| path.split("::").next()).collect()
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().trim() == "test"
        }
        syn::Meta::Path(_) | syn::Meta::NameValue(_) => false,
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if self.with_tests || !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.paths.insert(parts.join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(&call.tokens.to_string());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(&list.tokens.to_string());
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.asyncs += usize::from(signature.asyncness.is_some());
        self.function = signature.ident.to_string();
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.asyncs += 1;
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let receiver = match &*call.receiver {
            syn::Expr::Field(field) => match &field.member {
                syn::Member::Named(name) => name.to_string(),
                syn::Member::Unnamed(_) => String::new(),
            },
            syn::Expr::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
            syn::Expr::MethodCall(call) => call.method.to_string(),
            _ => String::new(),
        };
        if call.method == "write" {
            self.writes.push((receiver, self.function.clone()));
        }
        visit::visit_expr_method_call(self, call);
    }
}
