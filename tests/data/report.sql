-- The report's numbers from the ledger's rows, by somebody who does not know the host's code.
-- :experiment, :outcome, :window_ms, :lag_ms, :now_ms
WITH entries AS (
  SELECT unit, arm, min(time_ms) AS entry_ms
  FROM decisions
  WHERE experiment = :experiment AND forced = 0
  GROUP BY unit, arm
),
mature AS (SELECT * FROM entries WHERE entry_ms + :window_ms + :lag_ms <= :now_ms),
happened AS (
  SELECT id, name, value, at_ms, received_ms, entity AS unit FROM outcomes WHERE entity_kind = 'borrower'
  UNION ALL
  SELECT o.id, o.name, o.value, o.at_ms, o.received_ms, d.unit FROM outcomes o JOIN decisions d USING (decision_id)
),
units AS (
  SELECT m.arm, m.unit, EXISTS (
    SELECT 1 FROM happened h
    WHERE h.unit = m.unit AND h.name = :outcome AND h.value <> 0
      AND h.id NOT IN (SELECT reverses FROM outcomes WHERE reverses IS NOT NULL)
      AND h.at_ms >= m.entry_ms AND h.at_ms < m.entry_ms + :window_ms
      AND h.received_ms < m.entry_ms + :window_ms + :lag_ms
  ) AS hit
  FROM mature m
)
SELECT arm, count(*), avg(hit) FROM units GROUP BY arm ORDER BY arm;
