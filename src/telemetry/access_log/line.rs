//! One record as one line of JSON, into a buffer that is there already.
//!
//! Invariants
//! - Whatever the strings hold, the line is valid JSON that reads back equal, and has no line feed but its last byte.
//! - In steady state nothing is allocated.

use http::Method;

use super::clock::Clock;
use super::record::AccessRecord;

/// Stands for what a request does not have.
const ABSENT: &[u8] = b"-";

/// What all lines of a process have between the time and the method.
pub(super) fn head(region: &str) -> Box<[u8]> {
    let mut head = b"\",\"region\":\"".to_vec();
    escape(&mut head, region);
    head.extend_from_slice(b"\",\"method\":\"");
    head.into()
}

/// Appends the line of `record`, with its line feed.
pub(super) fn append(line: &mut Vec<u8>, head: &[u8], clock: &mut Clock, record: &AccessRecord<'_>) {
    line.extend_from_slice(b"{\"ts\":\"");
    clock.append_to(line, record.ended);
    line.extend_from_slice(head);
    line.extend_from_slice(method(record.method).as_bytes());
    line.extend_from_slice(b"\",\"route\":\"");
    escape_or_absent(line, record.route);
    line.extend_from_slice(b"\",\"status\":");
    number(line, record.status);
    line.extend_from_slice(b",\"jurisdiction\":\"");
    escape_or_absent(line, record.jurisdiction);
    line.extend_from_slice(b"\",\"access\":\"");
    line.extend_from_slice(record.access.as_str().as_bytes());
    line.extend_from_slice(b"\",\"decision\":\"");
    line.extend_from_slice(record.decision.as_str().as_bytes());
    line.extend_from_slice(b"\",\"served_by\":\"");
    escape_or_absent(line, record.served_by);
    line.extend_from_slice(b"\",\"code\":\"");
    escape_or_absent(line, record.code);
    line.extend_from_slice(b"\",\"subject\":\"");
    match record.subject {
        Some(subject) => line.extend_from_slice(&subject.hex()),
        None => line.extend_from_slice(ABSENT),
    }
    line.extend_from_slice(b"\",\"client\":\"");
    record.client.append_to(line);
    line.extend_from_slice(b"\",\"duration_us\":");
    number(line, record.duration.as_micros() as u64);
    line.extend_from_slice(b",\"upstream_us\":");
    match record.upstream {
        Some(upstream) => number(line, upstream.as_micros() as u64),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(b",\"bytes_in\":");
    number(line, record.bytes_in);
    line.extend_from_slice(b",\"bytes_out\":");
    number(line, record.bytes_out);
    line.extend_from_slice(b",\"protocol\":\"");
    line.extend_from_slice(record.protocol.as_str().as_bytes());
    line.extend_from_slice(b"\"}\n");
}

/// Standard methods by name. Any other is text the client chose, and may be anything.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

fn number(line: &mut Vec<u8>, value: impl itoa::Integer) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn escape_or_absent(line: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => escape(line, text),
        None => line.extend_from_slice(ABSENT),
    }
}

/// Appends `text` as the inside of a JSON string (RFC 8259 §7): quote, backslash and control characters are escaped,
/// everything else is itself.
fn escape(line: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        line.extend_from_slice(&bytes[clean..index]);
        clean = index + 1;
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let low = DIGITS[usize::from(byte & 0xf)];
                line.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
            }
        }
    }
    line.extend_from_slice(&bytes[clean..]);
}
