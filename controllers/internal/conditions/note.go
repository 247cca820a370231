package conditions

import "strings"

// maxNote is the longest note that the API server accepts in an Event, in bytes.
const maxNote = 1024

// Note returns a message, cut to the length that an Event may have.
func Note(message string) string {
	if len(message) <= maxNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxNote-3], "") + "..."
}
