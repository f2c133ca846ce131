//! Owns the reading of `[tracing]`. No message made here may contain a header's value.

use super::model::{Endpoint, Password, Tracing};
use super::resolve::Reader;
use super::secrets;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::Uri;
use zeroize::Zeroizing;

/// Path of an endpoint that has none, as OTLP/HTTP has it.
const PATH: &str = "/v1/traces";

/// The section.
pub(super) fn read(reader: &Reader<'_>) -> Tracing {
    let endpoint = reader.text("endpoint").unwrap_or_default();
    let read = endpoint_of(&endpoint);
    if read.is_none() && !endpoint.is_empty() {
        let help = "for example \"http://127.0.0.1:4318/v1/traces\"";
        reader.error("endpoint", "not the address of an HTTP server", help);
    }
    let ratio = reader.text("sample_ratio").and_then(|text| text.parse().ok());
    Tracing {
        endpoint: read.unwrap_or_default(),
        sample_ratio: ratio.unwrap_or_default(),
        service_name: reader.text("service_name").unwrap_or_default(),
        headers: headers(reader),
        interval: reader.duration_ms("interval_ms"),
        timeout: reader.duration_ms("timeout_ms"),
    }
}

fn endpoint_of(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.parse().ok()?;
    let (tls, default_port) = match uri.scheme_str()? {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return None,
    };
    // What stands before an `@` would be credentials, which belong into `headers`.
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some(Endpoint {
        tls,
        host: (!host.is_empty()).then(|| host.to_owned())?,
        port: authority.port_u16().unwrap_or(default_port),
        path: if path == "/" { PATH.into() } else { path.into() },
    })
}

/// `name=value,…`, as in `OTEL_EXPORTER_OTLP_HEADERS`.
fn headers(reader: &Reader<'_>) -> Vec<(String, Password)> {
    let Some(text) = secrets::password(reader, "headers") else { return Vec::new() };
    let given = ["headers_env", "headers_file"].into_iter().find(|key| reader.given(key).is_some());
    let mut headers = Vec::new();
    for part in text.0.split(',').filter(|part| !part.trim().is_empty()) {
        let Some(header) = header(part) else {
            let help = "write name=value, and a comma between two of them";
            reader.error(given.unwrap_or("headers"), "these are not header fields", help);
            return Vec::new();
        };
        headers.push(header);
    }
    headers
}

fn header(part: &str) -> Option<(String, Password)> {
    let (name, value) = part.split_once('=')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let value = Zeroizing::new(decoded(value.trim())?);
    HeaderValue::from_str(&value).ok()?;
    Some((name.as_str().to_owned(), Password(value)))
}

/// Without percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn with(section: &str) -> Result<crate::config::Config, String> {
        let rest = r#"
            [[listener]]
            address = "127.0.0.1:1"
            [[user]]
            name = "app"
            password = "x"
            [[shard]]
            name = "main"
            hosts = ["h:1"]
            monitor_user = "m"
            [[database]]
            name = "app"
        "#;
        parse(&format!("[tracing]\n{section}\n{rest}"), "t.toml").map_err(|e| format!("{e:?}"))
    }

    #[test]
    fn endpoints_and_headers_are_read() {
        let tracing = with(
            "endpoint = \"https://[::1]:4318\"\nsample_ratio = 0.5\n\
             headers = \"authorization=Bearer%20x, X-Team=a\"",
        );
        let tracing = tracing.unwrap().tracing.unwrap();
        assert_eq!((tracing.endpoint.host.as_str(), tracing.endpoint.port), ("::1", 4318));
        assert_eq!(tracing.endpoint.path, "/v1/traces");
        assert!(tracing.endpoint.tls);
        assert_eq!(tracing.sample_ratio, 0.5);
        let headers: Vec<(&str, &str)> =
            tracing.headers.iter().map(|(name, value)| (name.as_str(), value.0.as_str())).collect();
        assert_eq!(headers, [("authorization", "Bearer x"), ("x-team", "a")]);
        assert!(!format!("{tracing:?}").contains("Bearer"));
        assert_eq!(
            with("endpoint = \"http://c/x?y=1\"").unwrap().tracing.unwrap().endpoint.path,
            "/x?y=1"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for (section, said) in [
            ("endpoint = \"collector:4318\"", "not the address of an HTTP server"),
            ("endpoint = \"http://user:word@c\"", "not the address of an HTTP server"),
            ("endpoint = \"http://c\"\nsample_ratio = 1.5", "1.5 is not a value"),
            ("endpoint = \"http://c\"\nheaders = \"hush\"", "these are not header fields"),
            ("endpoint = \"http://c\"\nheaders = \"a=b%0Ahush\"", "these are not header fields"),
            ("sample_ratio = 1", "endpoint"),
        ] {
            let problems = with(section).unwrap_err();
            assert!(problems.contains(said), "{section}: {problems}");
        }
    }
}
