-- What a service of schema 6 has left behind: jobs in every state, some with attempts that were not put on record.
INSERT INTO webhook_events (id, source, event_type, delivery_id, payload_json, received_at, processed_at, status, body) VALUES
    (1, 'github', 'push', 'g-1', '{"n": 1}', '2026-01-02T03:04:05+00:00', '2026-01-02T03:04:06+00:00', 'processed', NULL),
    (2, 'github', 'push', 'g-2', '{"n": 2}', '2026-01-02T03:05:05+00:00', '2026-01-02T03:09:06+00:00', 'error', NULL),
    (3, 'github', 'issues', 'g-3', '{"n": 3}', '2026-01-02T03:06:05+00:00', NULL, 'unprocessed', NULL),
    (4, 'stripe', 'invoice.paid', 's-1', '{"n": 4}', '2026-01-02T03:07:05+00:00', NULL, 'unprocessed', x'7b226e223a20347d0a'),
    (5, 'stripe', 'invoice.paid', 's-2', '{"n": 5}', '2026-01-02T03:08:05+00:00', NULL, 'unprocessed', NULL),
    (9, 'door', 'open', 'd-1', '"text"', '2026-01-02T03:09:05+00:00', '2026-01-02T03:09:06+00:00', 'processed', x'74657874');

INSERT INTO provenance (event_id, secret_position, duplicates, renewed_at, body_digest) VALUES
    (1, 0, 2, '2026-01-02T04:04:05+00:00', NULL),
    (2, 1, 0, NULL, x'0102'),
    (4, NULL, 1, NULL, NULL);
INSERT INTO tallies VALUES ('source', 'github', 'duplicates', 2), ('source', 'stripe', 'duplicates', 1);

DELETE FROM unrouted WHERE event_id <> 5;
INSERT INTO jobs (event_id, action, dead_action, state, attempts, tries, due_at_ms, last_error, waited_ms) VALUES
    -- Succeeded at the third attempt.
    (1, 'deploy', '', 'succeeded', 3, 3, NULL, NULL, 0),
    (1, 'log', '', 'cancelled', 0, 0, NULL, NULL, 0),
    -- Dead, with the jobs that tell of it.
    (2, 'deploy', '', 'dead', 2, 2, NULL, 'exit code 3', 0),
    (2, 'log', '', 'succeeded', 1, 1, NULL, NULL, 0),
    (2, 'mail', 'deploy', 'queued', 1, 1, 4102444800000, 'no route', 0),
    (2, 'tell', 'deploy', 'succeeded', 1, 1, NULL, NULL, 0),
    -- Its second attempt was under way when the process ended.
    (3, 'deploy', '', 'running', 2, 2, NULL, 'exit code 1', 0),
    -- Waits for its third attempt; the process had ended during the second.
    (4, 'deploy', '', 'queued', 2, 2, 4102444800000, 'hookbox ended before the attempt did', 0),
    -- Asked to wait, after an attempt that failed.
    (4, 'chat', '', 'queued', 1, 1, 0, '429 Too Many Requests', 60000),
    -- Asked to wait at the first attempt.
    (4, 'send', '', 'queued', 0, 0, 0, '503 Service Unavailable', 1000);
INSERT INTO attempts (event_id, action, dead_action, number, started_at, duration_ms, outcome, detail) VALUES
    (1, 'deploy', '', 1, '2026-01-02T03:04:05+00:00', 10, 'retry', 'exit code 1'),
    (1, 'deploy', '', 2, '2026-01-02T03:04:05+00:00', 20, 'retry', 'exit code 2'),
    (1, 'deploy', '', 3, '2026-01-02T03:04:06+00:00', 30, 'success', 'exit code 0'),
    (2, 'deploy', '', 1, '2026-01-02T03:05:05+00:00', 10, 'retry', 'exit code 3'),
    (2, 'deploy', '', 2, '2026-01-02T03:05:06+00:00', 10, 'give_up', 'exit code 3'),
    (2, 'log', '', 1, '2026-01-02T03:05:05+00:00', 0, 'success', 'written'),
    (2, 'mail', 'deploy', 1, '2026-01-02T03:05:07+00:00', 5, 'retry', 'no route'),
    (2, 'tell', 'deploy', 1, '2026-01-02T03:05:07+00:00', 5, 'success', 'sent'),
    (3, 'deploy', '', 1, '2026-01-02T03:06:05+00:00', 10, 'retry', 'exit code 1'),
    (4, 'deploy', '', 1, '2026-01-02T03:07:05+00:00', 10, 'retry', 'exit code 1'),
    (4, 'chat', '', 1, '2026-01-02T03:07:05+00:00', 15, 'retry', '500 Internal Server Error');
INSERT INTO paused VALUES ('deploy', '2026-01-02T03:00:00+00:00');
INSERT INTO holds VALUES ('chat', 4102444800000), ('send', 4102444800000);
