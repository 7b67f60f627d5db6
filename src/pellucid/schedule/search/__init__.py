"""Search: schedules explored by measurement, guided by a cost model, kept in records."""
