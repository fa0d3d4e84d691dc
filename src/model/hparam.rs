//! One hyperparameter, as it is written and read.

/// One hyperparameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HParam {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

impl From<bool> for HParam {
    fn from(truth: bool) -> HParam {
        HParam::Bool(truth)
    }
}

impl From<&str> for HParam {
    fn from(text: &str) -> HParam {
        HParam::Text(text.to_owned())
    }
}

impl From<String> for HParam {
    fn from(text: String) -> HParam {
        HParam::Text(text)
    }
}

macro_rules! from_numbers {
    ($($kind:ty),*) => {$(
        impl From<$kind> for HParam {
            /// Exact up to 2^53.
            fn from(number: $kind) -> HParam {
                HParam::Number(number as f64)
            }
        }
    )*};
}
from_numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);
