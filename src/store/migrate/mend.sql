-- What the triggers maintain, made right after some were missing.

DELETE FROM jobs WHERE event_id NOT IN (SELECT id FROM webhook_events);
DELETE FROM earlier_attempts WHERE event_id NOT IN (SELECT id FROM webhook_events);

UPDATE jobs SET state = 'cancelled', due_at_ms = NULL
WHERE state IN ('queued', 'running') AND event_id IN (SELECT id FROM webhook_events WHERE status <> 'unprocessed');

UPDATE jobs SET is_behind = EXISTS (
    SELECT 1 FROM jobs AS earlier WHERE earlier.action = jobs.action AND earlier.key = jobs.key
    AND earlier.state IN ('queued', 'running') AND earlier.event_id < jobs.event_id)
WHERE key IS NOT NULL AND state IN ('queued', 'running');

DELETE FROM unrouted;
INSERT INTO unrouted
    SELECT id FROM webhook_events WHERE status = 'unprocessed'
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = webhook_events.id AND state IN ('queued', 'running'));

DELETE FROM counted;
INSERT INTO counted SELECT coalesce(max(id), 0) FROM webhook_events;

DELETE FROM tallies WHERE about IN ('status', 'action');
INSERT INTO tallies SELECT 'status', source, status, count(*) FROM webhook_events GROUP BY source, status;
INSERT INTO tallies
    SELECT 'action', action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END AS what, count(*)
    FROM jobs GROUP BY action, what;
-- At least the events there are: how many others were received meanwhile and deleted is not known.
INSERT INTO tallies
    SELECT 'source', name, 'received', sum(count) FROM tallies
    WHERE about = 'status' AND name <> 'hookbox' GROUP BY name
    ON CONFLICT (about, name, what) DO UPDATE SET count = max(count, excluded.count);

INSERT INTO blocks
    SELECT id >> 10 AS block, max(strftime('%Y-%m-%dT%H:%M', received_at)) AS minute FROM webhook_events
    GROUP BY block HAVING minute IS NOT NULL
    ON CONFLICT (block) DO UPDATE SET latest = max(latest, excluded.latest);
