//! The relay must move every byte, hold back a fast sender, and end both sides together: a floor
//! that loses bytes is no floor.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const BYTES: usize = 8 << 20;

struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A relay in front of a server that sends back what it gets.
fn relay_to_echo() -> (Relay, u16) {
    let echo = TcpListener::bind("127.0.0.1:0").expect("bind");
    let server = echo.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in echo.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut back = stream.try_clone().expect("clone");
                let _ = std::io::copy(&mut stream, &mut back);
            });
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.args([free.to_string(), server.to_string()]);
    (Relay(command.spawn().expect("start the relay")), free.port())
}

fn connect(port: u16) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
                return stream;
            }
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn eight_mebibytes_come_back_to_a_slow_reader() {
    let (_relay, port) = relay_to_echo();
    let mut stream = connect(port);
    let mut sender = stream.try_clone().expect("clone");
    let pattern = |n: usize| (n % 251) as u8;
    std::thread::spawn(move || {
        let sent: Vec<u8> = (0..BYTES).map(pattern).collect();
        sender.write_all(&sent).expect("send");
    });
    // Everything between fills up before the first byte is read.
    std::thread::sleep(Duration::from_millis(300));
    let mut got = vec![0_u8; BYTES];
    stream.read_exact(&mut got).expect("receive");
    let wrong = got.iter().enumerate().position(|(n, byte)| *byte != pattern(n));
    assert_eq!(wrong, None);
}

#[test]
fn clients_that_come_as_others_go_are_served() {
    let (_relay, port) = relay_to_echo();
    for round in 0..50_u8 {
        let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(port)).collect();
        for (stream, number) in streams.iter_mut().zip(0_u8..) {
            stream.write_all(&[round, number]).expect("send");
            let mut got = [0_u8; 2];
            stream.read_exact(&mut got).expect("receive");
            assert_eq!(got, [round, number]);
        }
    }
}
