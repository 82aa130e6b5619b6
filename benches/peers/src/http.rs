//! As much HTTP as a benchmark of keep-alive GETs takes: where a request ends, and the one answer.
//!
//! A request without a body ends with an empty line, and that is all that is looked for, also
//! across reads and for several requests in one read. No method, path or header is looked at: this
//! shows what a loop can do at most, it is no web server.

/// Twelve bytes, as nginx gives them in this comparison.
pub const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello world\n";

/// What ends a request.
const END: &[u8; 4] = b"\r\n\r\n";

/// Counts the requests in a stream of bytes.
#[derive(Debug, Default)]
pub struct Requests {
    /// How many bytes of [`END`] the last bytes seen were.
    matched: usize,
}

impl Requests {
    /// Takes the next bytes; returns how many requests ended in them.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut ended = 0;
        for &byte in bytes {
            if byte == END[self.matched] {
                self.matched += 1;
                if self.matched == END.len() {
                    ended += 1;
                    self.matched = 0;
                }
            } else {
                // "\r\r\n\r\n": the second carriage return is a beginning again.
                self.matched = usize::from(byte == END[0]);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    //! Ends in odd places.

    use super::*;

    #[test]
    fn ends_are_found_across_reads_and_several_in_one() {
        let mut requests = Requests::default();
        assert_eq!(requests.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r"), 0);
        assert_eq!(requests.feed(b"\nGET / HTTP/1.1\r\n\r\n\r\r\n\r\nGET"), 3);
        assert_eq!(requests.feed(b" /\r\n\r\n"), 1);
    }
}
