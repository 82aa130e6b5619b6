//! Status codes.

use std::fmt;

/// A status code with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16, &'static str);

impl Status {
    pub(crate) const OK: Status = Status(200, "OK");
    pub(crate) const ACCEPTED: Status = Status(202, "Accepted");
    pub(crate) const PARTIAL: Status = Status(206, "Partial Content");
    pub(crate) const MOVED: Status = Status(301, "Moved Permanently");
    pub(crate) const NOT_MODIFIED: Status = Status(304, "Not Modified");
    pub(crate) const BAD_REQUEST: Status = Status(400, "Bad Request");
    pub(crate) const FORBIDDEN: Status = Status(403, "Forbidden");
    pub(crate) const NOT_FOUND: Status = Status(404, "Not Found");
    pub(crate) const NOT_ALLOWED: Status = Status(405, "Method Not Allowed");
    pub(crate) const TIMEOUT: Status = Status(408, "Request Timeout");
    pub(crate) const LENGTH_REQUIRED: Status = Status(411, "Length Required");
    pub(crate) const PRECONDITION: Status = Status(412, "Precondition Failed");
    pub(crate) const TOO_LARGE: Status = Status(413, "Content Too Large");
    pub(crate) const URI_TOO_LONG: Status = Status(414, "URI Too Long");
    pub(crate) const RANGE: Status = Status(416, "Range Not Satisfiable");
    pub(crate) const EXPECTATION: Status = Status(417, "Expectation Failed");
    pub(crate) const UNPROCESSABLE: Status = Status(422, "Unprocessable Content");
    pub(crate) const TOO_MANY: Status = Status(429, "Too Many Requests");
    pub(crate) const HEADERS_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
    pub(crate) const INTERNAL: Status = Status(500, "Internal Server Error");
    pub(crate) const NOT_IMPLEMENTED: Status = Status(501, "Not Implemented");
    pub(crate) const BAD_GATEWAY: Status = Status(502, "Bad Gateway");
    pub(crate) const UNAVAILABLE: Status = Status(503, "Service Unavailable");
    pub(crate) const GATEWAY_TIMEOUT: Status = Status(504, "Gateway Timeout");
    pub(crate) const VERSION: Status = Status(505, "HTTP Version Not Supported");
    pub(crate) const LOOP: Status = Status(508, "Loop Detected");
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}
