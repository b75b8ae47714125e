//! The places at which a body may end without harm.

/// The place of a server-sent event stream between two bytes.
///
/// An event ends with an empty line. Lines end with LF, CR, or CR LF (HTML, "Server-sent events",
/// section on parsing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SsePlace {
    /// Before the first byte of an event.
    Boundary,
    /// As before, after a CR that an LF may follow.
    BoundaryAfterCr,
    /// At the start of a line within an event.
    LineStart,
    /// As before, after a CR that an LF may follow.
    LineStartAfterCr,
    /// Within a line.
    Line,
}

impl SsePlace {
    pub(super) const fn is_boundary(self) -> bool {
        matches!(self, Self::Boundary | Self::BoundaryAfterCr)
    }

    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            // The second half of one line end.
            (Self::BoundaryAfterCr, b'\n') => Self::Boundary,
            (Self::LineStartAfterCr, b'\n') => Self::LineStart,
            (Self::Line, b'\n') => Self::LineStart,
            (Self::Line, b'\r') => Self::LineStartAfterCr,
            (_, b'\n') => Self::Boundary,
            (_, b'\r') => Self::BoundaryAfterCr,
            _ => Self::Line,
        }
    }

    /// Returns the place after `data`.
    pub(super) fn after_all(self, data: &[u8]) -> Self {
        data.iter().fold(self, |place, byte| place.after(*byte))
    }

    /// Returns the length of the rest of the event that `data` continues, if it ends in it.
    pub(super) fn rest_of_event(self, data: &[u8]) -> Option<usize> {
        let mut place = self;
        for (at, byte) in data.iter().enumerate() {
            place = place.after(*byte);
            if place.is_boundary() {
                // The LF of a CR LF belongs to it.
                let more = place == Self::BoundaryAfterCr && data.get(at + 1) == Some(&b'\n');
                return Some(at + 1 + usize::from(more));
            }
        }
        None
    }
}

/// The place of a gRPC-Web body between two bytes: each frame has a flag, and its length in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FramePlace {
    /// The bytes of the head that were seen, five at most.
    head: [u8; 5],
    seen: u8,
    /// The bytes of the message that are missing.
    missing: u32,
    /// True once a frame of trailers began: nothing may follow it.
    pub(super) has_trailers: bool,
}

impl FramePlace {
    pub(super) const fn is_boundary(&self) -> bool {
        self.seen == 0 && self.missing == 0
    }

    /// Moves on by `data`.
    pub(super) fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.missing > 0 {
                let length = data.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                self.missing -= u32::try_from(length).unwrap_or(self.missing);
                data = &data[length..];
                continue;
            }
            let (byte, rest) = (data[0], &data[1..]);
            data = rest;
            self.head[usize::from(self.seen)] = byte;
            self.seen += 1;
            if let [flag, length @ ..] = self.head
                && usize::from(self.seen) == self.head.len()
            {
                self.seen = 0;
                self.missing = u32::from_be_bytes(length);
                self.has_trailers |= flag & TRAILERS != 0;
            }
        }
    }
}

/// The flag of a frame of trailers (gRPC-Web, "Protocol differences").
pub(super) const TRAILERS: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn boundaries(text: &str) -> Vec<usize> {
        let mut place = SsePlace::Boundary;
        let mut found = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            place = place.after(byte);
            if place == SsePlace::Boundary || place == SsePlace::BoundaryAfterCr {
                found.push(at + 1);
            }
        }
        found
    }

    #[test]
    fn events_end_with_an_empty_line_of_any_kind() {
        for (text, expected) in [
            ("data: 1\n\n", vec![9]),
            ("data: 1\r\r", vec![9]),
            ("data: 1\r\n\r\n", vec![10, 11]),
            ("data: 1\n", vec![]),
            ("data: 1\r\n", vec![]),
            ("data: 1\ndata: 2\n\ndata: 3\n\n", vec![17, 26]),
            // An empty line before an event ends none, and is a place to end as well.
            ("\n\n", vec![1, 2]),
            (": comment\n\n", vec![11]),
        ] {
            assert_eq!(boundaries(text), expected, "{text:?}");
        }
    }

    #[test]
    fn rest_of_an_event_is_found_wherever_it_was_cut() {
        let text = b"id: 7\r\ndata: x\r\n\r\nid: 8\r\n";
        for cut in 1..18 {
            let place = SsePlace::Boundary.after_all(&text[..cut]);
            if place.is_boundary() {
                continue;
            }
            assert_eq!(place.rest_of_event(&text[cut..]), Some(18 - cut), "{cut}");
            assert_eq!(
                place.rest_of_event(&text[cut..17]),
                (cut < 17).then_some(17 - cut),
                "{cut}"
            );
        }
        assert_eq!(SsePlace::Line.rest_of_event(b"no end\n"), None);
    }

    #[test]
    fn frames_of_grpc_web_are_followed_in_pieces_of_any_size() {
        let mut body = vec![0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0];
        body.extend([TRAILERS, 0, 0, 0, 1, b'x']);
        for size in 1..=body.len() {
            let mut place = FramePlace::default();
            let mut at = 0;
            for piece in body.chunks(size) {
                place.advance(piece);
                at += piece.len();
                assert_eq!(place.is_boundary(), [8, 13, 19].contains(&at), "{size} {at}");
            }
            assert!(place.has_trailers);
        }
    }
}
