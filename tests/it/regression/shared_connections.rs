//! A proxy sends the requests of many senders over one connection: what one sends must not affect another's answer.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::proxy::{behind_each, delivery, text_of};

/// Each sender gets the answer to its own request.
#[test]
fn a_refused_request_spoilt_the_next_answer_on_a_shared_connection() {
    behind_each(|front, hookbox| {
        let inner = delivery("inner", "{}").signed_with("guessed").bytes();
        let forged = delivery("forged", &inner).signed_with("guessed");
        let hostile = [
            forged.clone(),
            forged.clone().chunked(),
            delivery("forged", text_of(300_000)).signed_with("guessed"),
            forged.clone().target("/webhooks/nowhere"),
            forged.clone().method("PUT"),
            forged.header("Expect", "100-continue"),
        ];
        let (done, hostile) = (AtomicBool::new(false), &hostile);
        std::thread::scope(|scope| {
            for hostile_sender in 0..4 {
                let done = &done;
                scope.spawn(move || {
                    for request in hostile.iter().cycle().skip(hostile_sender) {
                        let mut connection = front.connect();
                        connection.send_lossy(&request.bytes());
                        // Some send and close at once.
                        let status =
                            if hostile_sender == 0 { 0 } else { connection.try_response().map_or(0, |it| it.status) };
                        assert_ne!(status, 200);
                        if done.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                });
            }
            let senders: Vec<_> = (0..4)
                .map(|sender| {
                    scope.spawn(move || {
                        let send = |n| front.send(&delivery(&format!("own-{sender}-{n}"), "{}")).status;
                        (0..25).map(send).collect::<Vec<_>>()
                    })
                })
                .collect();
            let statuses: Vec<_> = senders.into_iter().map(|sender| sender.join()).collect();
            done.store(true, Ordering::Relaxed);
            assert!(statuses.into_iter().flat_map(Result::unwrap).all(|status| status == 200));
        });
        assert_eq!(hookbox.stored(), 100);
    });
}
