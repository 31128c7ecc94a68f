//! The style sheet and the script, under names that change with their content.

use std::sync::LazyLock;

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// A file that is part of the program.
pub(crate) struct Asset {
    /// Where it is served; names its content.
    pub(crate) path: String,
    mime: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, mime: &'static str, text: &'static str) -> Asset {
        let digest = Sha256::digest(text.as_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Asset { path: format!("/dashboard/assets/{name}-{short}.{extension}"), mime, text }
    }
}

/// The style sheet.
pub(crate) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("../assets/style.css")));
/// The script.
pub(crate) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "js", "text/javascript; charset=utf-8", include_str!("../assets/app.js")));

/// Serves an asset by its name; what is under a name never changes.
pub(crate) fn serve(name: &str) -> Response {
    let wanted = format!("/dashboard/assets/{name}");
    let Some(asset) = [&*STYLE, &*SCRIPT].into_iter().find(|asset| asset.path == wanted) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, asset.mime), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_found_by_their_content_alone() {
        let name = STYLE.path.rsplit('/').next().expect("a name");
        assert_eq!(serve(name).status(), StatusCode::OK);
        for other in ["style.css", "style-0000000000000000.css", "../src/lib.rs", ""] {
            assert_eq!(serve(other).status(), StatusCode::NOT_FOUND, "{other}");
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in [&*STYLE, &*SCRIPT] {
            for word in ["http://", "https://", "@import", "url(", "eval("] {
                assert!(!asset.text.contains(word), "{} holds {word}", asset.path);
            }
        }
    }
}
