//! A socket that the service manager keeps open over restarts. The test is the service manager.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Address, Home, Request, Signal, take_turn, take_turn_nearly_alone, wait_for};

const SENDERS: usize = 8;
const RESTARTS: usize = 40;

/// Delivers on one new connection after the other until `done`. Each must be acknowledged. How many there were.
fn deliver_on(address: &Address, sender: usize, done: &AtomicBool) -> usize {
    let mut delivered = 0;
    while !done.load(Ordering::Relaxed) {
        let request = Request::github("push", &format!("d-{sender}-{delivered}"), "{}");
        let mut connection = address.try_connect().unwrap_or_else(|problem| panic!("refused: {problem}"));
        connection.send(&request.bytes());
        let response = connection.try_response().unwrap_or_else(|problem| panic!("answer lost: {problem}"));
        assert_eq!(response.status, 200, "{}", response.text());
        delivered += 1;
    }
    delivered
}

#[test]
fn restarts_with_a_passed_socket_lose_and_refuse_no_delivery() {
    take_turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, done) = (Address::Tcp(listener.local_addr().unwrap()), AtomicBool::new(false));
    let (home, delivered) = std::thread::scope(|scope| {
        let (address, done) = (&address, &done);
        let senders: Vec<_> = (0..SENDERS).map(|n| scope.spawn(move || deliver_on(address, n, done))).collect();
        let mut home = Home::new().passing(&listener);
        for _ in 0..RESTARTS {
            let (stopped, output) = home.start().stop();
            assert_eq!(output.code, Some(0), "{output}");
            home = stopped;
        }
        // Senders that wait now are answered too.
        let hookbox = home.start();
        done.store(true, Ordering::Relaxed);
        let delivered: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        (hookbox.stop().0, delivered)
    });
    println!("{delivered} deliveries over {RESTARTS} restarts");
    assert_eq!(home.stored(), delivered as i64);
}

#[test]
fn a_passed_socket_wins_over_the_one_in_the_config() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hookbox = Home::new().listen("127.0.0.1:1").passing(&listener).start();
    assert_eq!(hookbox.address().tcp(), listener.local_addr().unwrap());
    hookbox.deliver("push", "d-1", "{}");
}

#[test]
fn a_new_connection_is_served_during_a_stop() {
    take_turn_nearly_alone();
    let hookbox = Home::new().start();
    let mut connections: Vec<_> = (0..8).map(|_| hookbox.connect()).collect();
    // Accepted in turn: once this one is answered, the others are in.
    hookbox.deliver("push", "before", "{}");
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping");
    for (n, connection) in connections.iter_mut().enumerate() {
        connection.send_lossy(&Request::github("push", &format!("d-{n}"), "{}").bytes());
    }
    for connection in &mut connections {
        assert_eq!(connection.response().status, 200);
    }
    let (home, output) = hookbox.wait();
    assert_eq!((home.stored(), output.code), (9, Some(0)));
}

/// Without a socket of the service manager, connections that wait would be reset when the listener is closed.
#[test]
fn those_that_wait_at_its_own_socket_are_answered_before_it_is_closed() {
    take_turn();
    let mut home = Home::new();
    let (mut answered, mut lost) = (0, 0);
    for _ in 0..10 {
        let hookbox = home.start();
        let address = hookbox.address();
        let deliver = |sender: usize| {
            let address = address.clone();
            std::thread::spawn(move || {
                let (mut answered, mut lost) = (0, 0);
                while let Ok(mut connection) = address.try_connect() {
                    let id = format!("{}-{sender}-{answered}", std::process::id());
                    connection.send_lossy(&Request::github("push", &id, "{}").bytes());
                    let is_answered = connection.try_response().is_ok_and(|response| response.status == 200);
                    if is_answered { answered += 1 } else { lost += 1 }
                }
                (answered, lost)
            })
        };
        let senders: Vec<_> = (0..32).map(deliver).collect();
        wait_for("deliveries to be under way", || {
            (hookbox.stderr().matches("stored event").count() > 50).then_some(())
        });
        let (stopped, output) = hookbox.stop();
        assert_eq!(output.code, Some(0), "{output}");
        for sender in senders {
            let of_sender = sender.join().unwrap();
            (answered, lost) = (answered + of_sender.0, lost + of_sender.1);
        }
        home = stopped;
    }
    println!("{answered} answered, {lost} lost");
    // One may connect between the last accept and the close.
    assert!(lost <= 10, "{lost} of {answered} connections were not answered");
}

#[test]
fn a_passed_descriptor_that_is_no_socket_is_refused_with_instructions() {
    // Standard input of the program is /dev/null, which becomes descriptor 3.
    let become_it = "exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    Home::new().wrapped_in(&["sh", "-c", become_it]).start_in_vain().refused(1, &["service manager", "ListenStream="]);
    let nothing = "exec 3<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    Home::new().wrapped_in(&["sh", "-c", nothing]).start_in_vain().refused(2, &["LISTEN_FDS", "3"]);
    let two = "exec 3<&0 4<&0; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b exec \"$0\" \"$@\"";
    Home::new().wrapped_in(&["sh", "-c", two]).start_in_vain().refused(2, &["FileDescriptorName=http"]);
}
