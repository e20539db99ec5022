//! JSON on its way out.

use std::fmt::{self, Display, Formatter};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(u64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in this order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object with these members.
    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
        Json::Object(members.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }

    /// A string.
    pub fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// A number, or `null`.
    pub fn optional(number: Option<u64>) -> Json {
        number.map_or(Json::Null, Json::Number)
    }
}

fn write_text(text: &str, out: &mut Formatter<'_>) -> fmt::Result {
    out.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            '\n' => out.write_str("\\n")?,
            ..' ' => write!(out, "\\u{:04x}", u32::from(character))?,
            _ => write!(out, "{character}")?,
        }
    }
    out.write_str("\"")
}

impl Display for Json {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => out.write_str("null"),
            Json::Bool(is_so) => write!(out, "{is_so}"),
            Json::Number(number) => write!(out, "{number}"),
            Json::Text(text) => write_text(text, out),
            Json::List(values) => {
                out.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(out, "{}{value}", if at == 0 { "" } else { "," })?;
                }
                out.write_str("]")
            }
            Json::Object(members) => {
                out.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    out.write_str(if at == 0 { "" } else { "," })?;
                    write_text(name, out)?;
                    write!(out, ":{value}")?;
                }
                out.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json_has_them() {
        let list = Json::List(vec![Json::Null, Json::Bool(true), Json::optional(Some(7)), Json::optional(None)]);
        let value = Json::object([("a\"b", Json::text("x\\\n\u{1}é")), ("list", list), ("none", Json::List(vec![]))]);
        let text = r#"{"a\"b":"x\\\n\u0001é","list":[null,true,7,null],"none":[]}"#;
        assert_eq!(value.to_string(), text);
    }
}
