//! Owns the harness's own client: trust login, simple queries, results thrown away.
//! It exists for idle clients and for results of a gigabyte; it decodes next to nothing.

use crate::error::{Context, Result, fail};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Read at once while a big result is thrown away.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Small buffer of clients that only wait: the harness opens thousands.
const IDLE_BUFFER_BYTES: usize = 512;
/// Messages of the setup queries are far smaller; a larger length is garbage.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Data of one CopyData message: borders of rows fall anywhere in it.
const COPY_CHUNK_BYTES: usize = 32 * 1024;
/// A server that says nothing for so long has failed.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and logs in without password.
    pub(crate) fn connect(port: u16, user: &str, database: &str) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).context("connect")?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        socket.set_nodelay(true)?;
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        for word in ["user", user, "database", database] {
            startup.extend_from_slice(word.as_bytes());
            startup.push(0);
        }
        startup.push(0);
        let mut client = Client { stream: BufReader::with_capacity(IDLE_BUFFER_BYTES, socket) };
        client.send(&startup, None)?;
        client.until_ready()?;
        Ok(client)
    }

    /// Runs a query; the first column of its last row, when there is one.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Option<String>> {
        self.ask(sql)?;
        self.until_ready().context(sql)
    }

    /// Runs a query, throws its result away and counts the bytes. Stands still for `pause` after
    /// the first mebibyte, so that whatever lies between has to hold the server back.
    pub(crate) fn discard(&mut self, sql: &str, pause: Duration) -> Result<u64> {
        self.ask(sql)?;
        let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, self.stream.get_ref());
        let mut bytes = 0_u64;
        let mut paused = false;
        loop {
            let mut header = [0_u8; 5];
            stream.read_exact(&mut header)?;
            let length =
                u64::from(u32::from_be_bytes([header[1], header[2], header[3], header[4]]));
            let body = length.saturating_sub(4);
            std::io::copy(&mut (&mut stream).take(body), &mut std::io::sink())?;
            bytes += body + 5;
            match header[0] {
                b'Z' => return Ok(bytes),
                b'E' => return fail("the server refused the query"),
                _ => {}
            }
            if !paused && bytes > 1 << 20 {
                paused = true;
                std::thread::sleep(pause);
            }
        }
    }

    /// Runs a COPY FROM STDIN with this data.
    pub(crate) fn copy_in(&mut self, sql: &str, data: &[u8]) -> Result<()> {
        self.ask(sql)?;
        let mut header = [0_u8; 5];
        self.stream.read_exact(&mut header).context("read")?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0_u8; (length as usize).saturating_sub(4).min(MESSAGE_BYTES_MAX)];
        self.stream.read_exact(&mut body)?;
        if header[0] != b'G' {
            return fail(format!("{sql}: {}", String::from_utf8_lossy(&body).replace('\0', " ")));
        }
        for chunk in data.chunks(COPY_CHUNK_BYTES) {
            self.send(chunk, Some(b'd'))?;
        }
        self.send(&[], Some(b'c'))?;
        self.until_ready().context(sql).map(drop)
    }

    fn ask(&mut self, sql: &str) -> Result<()> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(&body, Some(b'Q'))
    }

    fn send(&mut self, body: &[u8], kind: Option<u8>) -> Result<()> {
        let length = u32::try_from(body.len() + 4).context("message length")?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        Ok(self.stream.get_mut().write_all(&message)?)
    }

    fn until_ready(&mut self) -> Result<Option<String>> {
        let mut value = None;
        let mut error = None;
        loop {
            let mut header = [0_u8; 5];
            self.stream.read_exact(&mut header).context("read")?;
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            let Some(count) = (length as usize).checked_sub(4).filter(|n| *n < MESSAGE_BYTES_MAX)
            else {
                return fail(format!("a message of {length} bytes"));
            };
            let mut body = vec![0_u8; count];
            self.stream.read_exact(&mut body)?;
            match header[0] {
                b'Z' if error.is_none() => return Ok(value),
                b'Z' => return fail(error.unwrap_or_default()),
                // Without a login there is no ReadyForQuery: the socket ends here.
                b'E' => error = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'R' if body != [0, 0, 0, 0] => return fail("asked for a password"),
                b'D' if value.is_none() => value = first_column(&body),
                _ => {}
            }
        }
    }
}

fn first_column(row: &[u8]) -> Option<String> {
    let length = u32::from_be_bytes(row.get(2..6)?.try_into().ok()?) as usize;
    Some(String::from_utf8_lossy(row.get(6..6 + length)?).into_owned())
}
