//! Argument values as the user wrote them, before any rule is applied.

/// A value given to `Endpoint(...)`, read from Python objects or from source text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dict, in order.
    Dict(Vec<(Value, Value)>),
    /// A member of a public enum, such as `GpuType.NVIDIA_L4`.
    Member {
        /// Class name, such as `GpuType`.
        class: String,
        /// Member name, such as `NVIDIA_L4`.
        member: String,
    },
    /// `NetworkVolume(...)` or `PodTemplate(...)` with the fields that were given.
    Object {
        /// Class name.
        class: String,
        /// Fields in the order given.
        fields: Vec<(String, Value)>,
    },
    /// A string read from the environment (`os.environ["X"]`, `os.getenv("X", "y")`).
    Environment {
        /// Variable name.
        name: String,
        /// What the code falls back to.
        default: Option<String>,
    },
    /// Anything else; only its type is known.
    Other {
        /// Python type name, such as `set`.
        type_name: String,
    },
}

/// Keyword arguments in the order given; the positional `name` comes first as `name`.
pub type Arguments = Vec<(String, Value)>;
