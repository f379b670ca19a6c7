-- Events that came from a provider's API and not by a delivery: their signature was not checked, their bytes are the API's.
CREATE TABLE taken (
    event_id  INTEGER PRIMARY KEY
);

CREATE TRIGGER taken_event_deleted AFTER DELETE ON webhook_events
BEGIN
    DELETE FROM taken WHERE event_id = OLD.id;
END;
