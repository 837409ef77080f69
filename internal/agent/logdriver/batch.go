package logdriver

// batchLength is how many of the queued events make the next batch: as many as CloudWatch Logs takes in one call.
func batchLength(queue []queued) int {
	bytes := 0
	for i, event := range queue {
		bytes += len(event.Message) + eventOverheadBytes
		if i == maxBatchEvents || bytes > maxBatchBytes || event.Timestamp.Sub(queue[0].Timestamp) >= maxBatchSpan {
			return i
		}
	}
	return len(queue)
}

// batchFull says whether no more should be read before a delivery.
func batchFull(queue []queued, bytes int) bool {
	return len(queue) >= maxBatchEvents || bytes >= maxBatchBytes
}
