//! `/docs`: Swagger UI from the binary, so that it works offline.

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::answer;

const BUNDLE: &[u8] = include_bytes!("assets/swagger-ui-bundle.js.gz");
const STYLE: &[u8] = include_bytes!("assets/swagger-ui.css.gz");

/// Paths of the two files that the page loads.
const BUNDLE_PATH: &str = "/docs/swagger-ui-bundle.js";
const STYLE_PATH: &str = "/docs/swagger-ui.css";

/// The page. `problems` are the project's located errors; they stand above the endpoints.
pub(super) fn docs(app: &str, problems: &[String]) -> Response<Body> {
    let banner = if problems.is_empty() {
        String::new()
    } else {
        let list: Vec<String> =
            problems.iter().map(|problem| format!("<pre>{}</pre>", escape(problem))).collect();
        let list = list.concat();
        format!(
            "<section id=\"problems\" role=\"alert\"><h2>Not everything could be read</h2>\
             <p>The rest is served; what worked before still does.</p>{list}</section>"
        )
    };
    let page = format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - flash run</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{STYLE_PATH}">
<style>
#problems {{ max-width: 1460px; margin: 20px auto; padding: 12px 20px; font-family: sans-serif;
  border-left: 6px solid #c0392b; background: #fdf1ef; color: #3b1210; }}
#problems h2 {{ margin: 0 0 4px; font-size: 18px; }}
#problems pre {{ overflow-x: auto; font-size: 13px; line-height: 1.4; }}
</style>
</head>
<body>
{banner}
<div id="swagger-ui"></div>
<script src="{BUNDLE_PATH}"></script>
<script>
SwaggerUIBundle({{
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null
}});
</script>
</body>
</html>
"##,
        title = escape(app),
    );
    let mut response = answer::text(StatusCode::OK, "text/html; charset=utf-8", page);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the asset at a path, `None` when there is none.
pub(super) fn asset(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let (packed, content_type) = match path {
        BUNDLE_PATH => (BUNDLE, "text/javascript; charset=utf-8"),
        STYLE_PATH => (STYLE, "text/css; charset=utf-8"),
        _ => return None,
    };
    let takes_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|coding| coding.trim().starts_with("gzip")));
    let mut response = if takes_gzip {
        let mut response = answer::text(StatusCode::OK, content_type, Bytes::from_static(packed));
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut plain = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut plain).ok()?;
        answer::text(StatusCode::OK, content_type, plain)
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    Some(response)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
