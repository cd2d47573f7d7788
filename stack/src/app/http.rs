//! HTTP/1.1 (RFC 9112), as much as servers of pages and a client like curl need.

use crate::app::{HttpFallback, HttpPage, HttpSite};

/// Header fields of one message at most.
const HEADERS: usize = 64;
/// Bytes of a request head at most.
const HEAD_LIMIT: usize = 64 * 1024;

/// What a server does with the bytes that it has read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Served {
    /// The request is not whole yet.
    More,
    /// An answer; `used` bytes of the input were its request. The connection closes afterwards, or stays.
    Answer { used: usize, bytes: Vec<u8>, close: bool },
}

/// Answers the first request of the input.
pub(crate) fn serve(site: &HttpSite, input: &[u8]) -> Served {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => return Served::More,
        Ok(httparse::Status::Partial) => return refuse(site, 431, input.len()),
        Err(_) => return refuse(site, 400, input.len()),
    };
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let keep_by_default = request.version == Some(1);
    let field = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if field("Transfer-Encoding").is_some() {
        // Bodies in chunks are for requests that no page here takes.
        return refuse(site, 501, input.len());
    }
    let body = match field("Content-Length").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(body)) if body <= HEAD_LIMIT => body,
        Some(Ok(_)) => return refuse(site, 413, input.len()),
        Some(Err(_)) => return refuse(site, 400, input.len()),
    };
    if input.len() < head + body {
        return Served::More;
    }
    let close = match field("Connection") {
        Some(value) if value.eq_ignore_ascii_case("close") => true,
        Some(value) if value.eq_ignore_ascii_case("keep-alive") => false,
        _ => !keep_by_default,
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let page = match method {
        "GET" | "HEAD" => page(site, path),
        _ => text(405, "Method Not Allowed\n"),
    };
    let bytes = write(site, &page, close, method == "HEAD");
    Served::Answer { used: head + body, bytes, close }
}

fn page(site: &HttpSite, path: &str) -> HttpPage {
    if let Some(page) = site.pages.get(path) {
        return page.clone();
    }
    match &site.fallback {
        Some(HttpFallback::Page(page)) => page.clone(),
        Some(HttpFallback::EchoPath) => text(200, path),
        None => text(404, "404 page not found\n"),
    }
}

fn text(status: u16, body: &str) -> HttpPage {
    HttpPage { status, content_type: "text/plain; charset=utf-8".to_owned(), body: body.as_bytes().to_vec() }
}

fn refuse(site: &HttpSite, status: u16, used: usize) -> Served {
    let page = text(status, &format!("{status} {}\n", reason(status)));
    Served::Answer { used, bytes: write(site, &page, true, false), close: true }
}

fn write(site: &HttpSite, page: &HttpPage, close: bool, head_only: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", page.status, reason(page.status));
    if let Some(server) = &site.server_header {
        head += &format!("Server: {server}\r\n");
    }
    if page.status == 405 {
        head += "Allow: GET, HEAD\r\n";
    }
    head += &format!("Content-Type: {}\r\nContent-Length: {}\r\n", page.content_type, page.body.len());
    head += if close { "Connection: close\r\n\r\n" } else { "\r\n" };
    let mut bytes = head.into_bytes();
    if !head_only {
        bytes.extend_from_slice(&page.body);
    }
    bytes
}

/// The reason phrase of a status (RFC 9110, section 15).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

/// Writes a client's request.
pub(crate) fn request(method: &str, host: &str, path: &str, agent: &str, headers: &[(String, String)]) -> Vec<u8> {
    let path = if path.is_empty() { "/" } else { path };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if !given("User-Agent") {
        head += &format!("User-Agent: {agent}\r\n");
    }
    if !given("Accept") {
        head += "Accept: */*\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

/// What a client makes of the bytes that it has read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Read {
    /// The answer is not whole yet.
    More,
    /// An answer.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Not HTTP.
    Foreign,
}

/// Reads an answer to `method`. `ended`: the server has closed its side.
pub(crate) fn read(method: &str, mut input: &[u8], ended: bool) -> Read {
    // Interim answers (1xx) come before the real one. Bounded: each takes its bytes.
    loop {
        match read_one(method, input, ended) {
            Err(used) => input = &input[used..],
            Ok(read) => return read,
        }
    }
}

/// Reads one answer; an interim one is an error that says how long it is.
fn read_one(method: &str, input: &[u8], ended: bool) -> Result<Read, usize> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if !ended && input.len() < HEAD_LIMIT => return Ok(Read::More),
        _ => return Ok(Read::Foreign),
    };
    let status = response.code.unwrap_or(0);
    let own: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    if status / 100 == 1 {
        return Err(head);
    }
    let field = |name: &str| own.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let rest = &input[head..];
    let body = if method == "HEAD" || status == 204 || status == 304 {
        Some(Vec::new())
    } else if field("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)
    } else {
        match field("Content-Length").and_then(|value| value.parse::<usize>().ok()) {
            Some(length) => rest.get(..length).map(<[u8]>::to_vec),
            None => ended.then(|| rest.to_vec()),
        }
    };
    Ok(match body {
        Some(body) => Read::Answer { status, headers: own, body },
        None if ended => Read::Answer { status, headers: own, body: rest.to_vec() },
        None => Read::More,
    })
}

/// A body in chunks, if it is whole.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    // Bounded: every chunk takes at least its size line.
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(rest) else { return None };
        let size = usize::try_from(size).ok()?;
        let chunk = rest.get(at..at.checked_add(size)?)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(at + size + 2..)?;
    }
}
