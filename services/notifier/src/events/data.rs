//! An event's data: proto3 JSON, in the order given, so that every build writes the same bytes.

use super::Told;
use serde_json::Value;
use std::fmt::Write as _;

/// As proto3 JSON has it, what is empty, false or 0 is left out.
pub(super) struct Data(Vec<(&'static str, Value)>);

impl Data {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !is_empty(&value) {
            self.0.push((name, value));
        }
        self
    }

    pub(super) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(super) fn told(self, kind: &'static str) -> Told {
        self.told_of(kind, String::new())
    }

    pub(super) fn told_of(self, kind: &'static str, content: String) -> Told {
        let mut data = "{".to_owned();
        for (name, value) in self.0 {
            let comma = if data.len() > 1 { "," } else { "" };
            let _ = write!(data, "{comma}\"{name}\":{value}");
        }
        data.push('}');
        Told { kind, data, content }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => false,
    }
}
