//! The body of a request: all of it, bounded, before the engine sees any. An upload that breaks off inserts nothing.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::encoding;
use crate::errors::Exception;
use crate::framing;
use crate::params::Params;

/// Reads a whole body as it was sent.
///
/// # Errors
///
/// More than `bytes_max`, or an upload that breaks off.
pub(crate) async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, Exception> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Exception::too_large(bytes_max)),
        Err(error) => Err(Exception::bad_arguments(format_args!("the request's body broke off: {error}"))),
    }
}

/// Moves the fields of a multipart form into `params`; any other body comes back untouched.
///
/// # Errors
///
/// A form that breaks its format, has too many fields, is compressed, or carries a file: that would be an external
/// table, which is not supported.
pub(crate) async fn take_form(headers: &HeaderMap, body: Bytes, params: &mut Params) -> Result<Bytes, Exception> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        return Ok(body);
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Exception::not_implemented("a compressed multipart form is not supported"));
    }
    let broken = |error: multer::Error| Exception::bad_arguments(format_args!("malformed multipart form: {error}"));
    let boundary = multer::parse_boundary(content_type).map_err(broken)?;
    let chunks = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut form = multer::Multipart::new(chunks, boundary);
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let Some(name) = field.name().filter(|_| field.file_name().is_none()).map(str::to_owned) else {
            return Err(Exception::not_implemented("external tables are not supported by the embedded engine"));
        };
        params.push(name, field.text().await.map_err(broken)?)?;
    }
    Ok(Bytes::new())
}

/// Undoes both kinds of compression, HTTP's around ClickHouse's. Takes processor time in proportion to the body.
///
/// # Errors
///
/// Content that is not what it says, or more than `bytes_max` after either step.
pub(crate) fn decode(headers: &HeaderMap, params: &Params, body: Bytes, bytes_max: usize) -> Result<Bytes, Exception> {
    let content_encoding = headers.get(CONTENT_ENCODING).map_or(Ok(""), |value| value.to_str());
    let content_encoding = content_encoding.map_err(|_| Exception::bad_arguments("malformed Content-Encoding"))?;
    let body = encoding::decode(content_encoding, body, bytes_max)?;
    if params.flag("decompress") { framing::decompress(&body, bytes_max).map(Bytes::from) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    async fn form(content_type: &str, body: &str) -> Result<Params, u32> {
        let mut params = Params::default();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())]);
        let rest = take_form(&headers, body.to_owned().into(), &mut params).await.map_err(|error| error.code())?;
        assert!(rest.is_empty());
        Ok(params)
    }

    const FORM: &str = "multipart/form-data; boundary=b";

    #[tokio::test]
    async fn a_forms_fields_become_parameters() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT\r\n1\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\n\r\n--b--\r\n";
        let params = form(FORM, body).await.unwrap();
        assert_eq!((params.text("query"), params.text("param_x")), (Some("SELECT\r\n1"), Some("")));
    }

    #[tokio::test]
    async fn a_malformed_form_is_refused() {
        let field = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT 1";
        for (content_type, body) in [
            ("multipart/form-data", ""),
            ("multipart/form-data; boundary=", ""),
            (FORM, ""),
            (FORM, "--"),
            (FORM, "--b\r\n\r\n"),
            (FORM, field),
            (FORM, &format!("{field}\r\n--c--\r\n")),
        ] {
            assert_eq!(form(content_type, body).await.map(drop), Err(36), "{content_type} {body:?}");
        }
    }

    #[tokio::test]
    async fn a_forms_file_is_refused() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"t\"; filename=\"t\"\r\n\r\n1\r\n--b--\r\n";
        assert_eq!(form(FORM, body).await.map(drop), Err(48));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        assert_eq!(collect(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(collect(Body::from("123456"), 5).await.map_err(|error| error.code()), Err(307));
    }

    #[test]
    fn both_compressions_are_undone_and_each_is_bounded() {
        let raw = vec![b'x'; 10_000];
        let framed = framing::compress(&raw);
        let gzip = encoding::Encoding::Gzip.encode(&framed.repeat(10)).unwrap().unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let params = Params::parse("decompress=1").unwrap();
        let decode = |bytes_max| decode(&headers, &params, gzip.clone().into(), bytes_max);
        assert_eq!(decode(100_000).unwrap().len(), 100_000);
        assert_eq!(decode(99_999).map_err(|error| error.code()), Err(307));
        assert_eq!(decode(100).map_err(|error| error.code()), Err(307));
    }
}
