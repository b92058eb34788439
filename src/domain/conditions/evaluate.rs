//! From text to a tree, and from a tree and facts to an answer. Only here does the interpreter
//! run, so only here can it fail.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, IdedExpr, ParseErrors, Value, common::types::CelBool};

/// Functions and operators, and the loops for the tree that is evaluated.
static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// Expands nothing, for the tree that is checked.
static AS_WRITTEN: LazyLock<Env> = LazyLock::new(|| Env::default().with_optional_support(false));

pub(super) fn environment() -> Arc<Env> {
    Arc::clone(&ENVIRONMENT)
}

/// Stack of the thread that parses. The parser takes up to 150 KiB for a bracket without
/// optimisation, and [`super::scan`] lets 16 through.
const PARSER_STACK: usize = 8 << 20;

/// An expression as it is written, to be checked, and with its loops unrolled, to be evaluated.
pub(super) struct Trees {
    pub written: IdedExpr,
    pub expanded: Result<IdedExpr, String>,
}

/// Why a text gives no tree.
pub(super) enum Unread {
    /// It is no expression.
    Text(String),
    /// There is no thread to parse it just now.
    Busy,
}

/// Parses a text that was scanned.
pub(super) fn parse(text: &str) -> Result<Trees, Unread> {
    let both = || {
        let written = parse_with(&AS_WRITTEN, text)?;
        Ok(Trees { written, expanded: parse_with(&ENVIRONMENT, text) })
    };
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(PARSER_STACK);
        let parser = parser.spawn_scoped(scope, both).map_err(|_| Unread::Busy)?;
        let trees = parser.join().unwrap_or_else(|_| Err("it can't be read".to_owned()));
        trees.map_err(Unread::Text)
    })
}

fn parse_with(env: &Env, text: &str) -> Result<IdedExpr, String> {
    env.parser().parse(text).map_err(|errors| first(&errors))
}

/// The first error. What comes after it mostly follows from it.
fn first(errors: &ParseErrors) -> String {
    let Some(error) = errors.errors.first() else { return "it can't be read".to_owned() };
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    // A list of everything that could stand there is of no help.
    let message = message.split(" expecting ").next().unwrap_or(message);
    let message: String = message.replace("<EOF>", "the end").chars().take(200).collect();
    match error.pos {
        (line, column) if line > 0 => {
            format!("it can't be read at line {line}, column {column}: {message}")
        }
        _ => format!("it can't be read: {message}"),
    }
}

/// Evaluates a tree that was checked.
pub(super) fn evaluate(tree: &IdedExpr, context: &Context<'_, '_>) -> Result<bool, String> {
    let result = catch_unwind(AssertUnwindSafe(|| match Value::resolve_val(tree, context) {
        Ok(value) => match value.downcast_ref::<CelBool>() {
            Some(value) => Ok(*value.inner()),
            None => Err(format!("its result is {}, not true or false", value.get_type().name())),
        },
        Err(error) => Err(sentence(&error)),
    }));
    result.unwrap_or_else(|_| Err("it could not be evaluated".to_owned()))
}

/// An error in words, without the data that it is about.
fn sentence(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => {
            let name: String = name.chars().take(128).collect();
            format!("there is no “{name}”")
        }
        ExecutionError::NoSuchOverload(it) => {
            let operator = it.function().trim_matches(['_', '@']);
            let types = it.argument_types().join(" and ");
            let types = types.replace("google.protobuf.", "").to_lowercase();
            format!("`{operator}` can't take {types}")
        }
        ExecutionError::UnsupportedBinaryOperator(operator, a, b) => {
            format!("`{operator}` can't take {} and {}", a.type_of(), b.type_of())
        }
        ExecutionError::ValuesNotComparable(a, b) => {
            format!("{} and {} can't be compared", a.type_of(), b.type_of())
        }
        ExecutionError::UnexpectedType { got, want } => format!("it found {got} instead of {want}"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "a list is too short".to_owned(),
        ExecutionError::DuplicateKey(_) => "a map has a key twice".to_owned(),
        ExecutionError::FunctionError { function, .. } => {
            format!("{function}() could not read its argument")
        }
        _ => "it could not be evaluated".to_owned(),
    }
}
