package conditions

import "strings"

// maxNote is what the API server takes in an Event.
const maxNote = 1024

// Note is a message as an Event can have it. A condition has room for more.
func Note(message string) string {
	if len(message) <= maxNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxNote-3], "") + "..."
}
