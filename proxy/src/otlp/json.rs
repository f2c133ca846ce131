//! Owns OTLP/JSON: spans as the protocol buffers' JSON mapping has them, with identifiers in
//! hexadecimal and 64-bit numbers in quotes.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use super::span::{Span, Value};
use std::fmt::Write;

/// `status.code` of a span that failed.
const STATUS_ERROR: u8 = 2;

/// An ExportTraceServiceRequest. `resource` says who we are.
pub(super) fn request(resource: &[(&str, &str)], spans: &[Span]) -> String {
    let mut out = String::with_capacity(512 * (spans.len() + 1));
    out.push_str("{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    for (index, (name, value)) in resource.iter().enumerate() {
        separate(&mut out, index);
        attribute(&mut out, name, &Value::from(*value));
    }
    out.push_str("]},\"scopeSpans\":[{\"scope\":{\"name\":\"pgmanifold\",\"version\":");
    quote(&mut out, env!("CARGO_PKG_VERSION"));
    out.push_str("},\"spans\":[");
    for (index, span) in spans.iter().enumerate() {
        separate(&mut out, index);
        put(&mut out, span);
    }
    out.push_str("]}]}]}");
    out
}

fn put(out: &mut String, span: &Span) {
    let (trace, id) = (span.trace, span.id);
    let _ = write!(out, "{{\"traceId\":\"{trace:032x}\",\"spanId\":\"{id:016x}\",");
    if let Some(parent) = span.parent {
        let _ = write!(out, "\"parentSpanId\":\"{parent:016x}\",");
    }
    out.push_str("\"name\":");
    quote(out, &span.name);
    let (kind, start_ns, end_ns) = (span.kind as u8, span.start_ns, span.end_ns);
    let _ = write!(out, ",\"kind\":{kind},\"startTimeUnixNano\":\"{start_ns}\",");
    let _ = write!(out, "\"endTimeUnixNano\":\"{end_ns}\",\"attributes\":[");
    for (index, (name, value)) in span.attributes.iter().enumerate() {
        separate(out, index);
        attribute(out, name, value);
    }
    out.push(']');
    if let Some(error) = &span.error {
        let _ = write!(out, ",\"status\":{{\"code\":{STATUS_ERROR},\"message\":");
        quote(out, error);
        out.push('}');
    }
    out.push('}');
}

fn attribute(out: &mut String, name: &str, value: &Value) {
    out.push_str("{\"key\":");
    quote(out, name);
    out.push_str(",\"value\":{");
    match value {
        Value::Text(text) => {
            out.push_str("\"stringValue\":");
            quote(out, text);
        }
        Value::Number(number) => {
            let _ = write!(out, "\"intValue\":\"{number}\"");
        }
        Value::Texts(texts) => {
            out.push_str("\"arrayValue\":{\"values\":[");
            for (index, text) in texts.iter().enumerate() {
                separate(out, index);
                out.push_str("{\"stringValue\":");
                quote(out, text);
                out.push('}');
            }
            out.push_str("]}");
        }
    }
    out.push_str("}}");
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn spans_are_what_the_protocol_says() {
        let span = Span {
            trace: 0x1f,
            id: 0xab,
            parent: Some(1),
            name: "a \"b\"\\\n\u{1}é".into(),
            kind: Kind::Client,
            start_ns: 5,
            end_ns: 7,
            attributes: vec![
                ("n", Value::Number(-1)),
                ("t", "x".into()),
                ("l", Value::Texts(vec!["p".into(), "q".into()])),
            ],
            error: Some("57014".into()),
        };
        let text = request(&[("service.name", "s")], &[span, Span::default()]);
        let version = env!("CARGO_PKG_VERSION");
        let expected = [
            r#"{"resourceSpans":[{"resource":{"attributes":["#,
            r#"{"key":"service.name","value":{"stringValue":"s"}}]},"#,
            &format!(r#""scopeSpans":[{{"scope":{{"name":"pgmanifold","version":"{version}"}},"#),
            r#""spans":[{"traceId":"0000000000000000000000000000001f","#,
            r#""spanId":"00000000000000ab","parentSpanId":"0000000000000001","#,
            r#""name":"a \"b\"\\\n\u0001é","kind":3,"startTimeUnixNano":"5","#,
            r#""endTimeUnixNano":"7","attributes":[{"key":"n","value":{"intValue":"-1"}},"#,
            r#"{"key":"t","value":{"stringValue":"x"}},"#,
            r#"{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"p"},"#,
            r#"{"stringValue":"q"}]}}}],"status":{"code":2,"message":"57014"}},"#,
            r#"{"traceId":"00000000000000000000000000000000","spanId":"0000000000000000","#,
            r#""name":"","kind":1,"startTimeUnixNano":"0","endTimeUnixNano":"0","#,
            r#""attributes":[]}]}]}]}"#,
        ];
        assert_eq!(text, expected.concat());
    }
}
