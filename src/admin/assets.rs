//! The files of the page, served from the binary.

use super::answer::Answer;

/// A file of the page.
pub struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 4] = [
    Asset { path: "/", content_type: "text/html; charset=utf-8", text: include_str!("page.html") },
    Asset { path: "/page.css", content_type: "text/css; charset=utf-8", text: include_str!("page.css") },
    Asset { path: "/page.js", content_type: "text/javascript; charset=utf-8", text: include_str!("page.js") },
    Asset { path: "/icon.svg", content_type: "image/svg+xml", text: include_str!("icon.svg") },
];

pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    pub fn answer(&self) -> Answer {
        Answer::new(200, self.content_type, self.text)
    }
}
