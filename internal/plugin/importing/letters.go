package importing

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// writeLetters writes a text for each owner who has to create tokens, one after the other.
func writeLetters(w io.Writer, p *plan, page string, until time.Time) error {
	users, of := p.owners()
	for _, user := range users {
		if _, err := io.WriteString(w, letter(user, of[user], page, until)); err != nil {
			return fmt.Errorf("writing the letters: %w", err)
		}
	}
	return nil
}

// letter is the text for one owner.
func letter(user string, lines []line, page string, until time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "To: %s\nSubject: Please replace your tokens", user)
	if !until.IsZero() {
		fmt.Fprintf(&b, " before %s", until.Format(time.DateOnly))
	}
	b.WriteString("\n\nYou have these tokens, which have to be replaced:\n\n")
	for _, l := range lines {
		label := l.Label
		if label == "" {
			label = "(without a name)"
		}
		fmt.Fprintf(&b, "  - %s", label)
		if l.Created != "" {
			fmt.Fprintf(&b, ", created %s", l.Created[:len(time.DateOnly)])
		}
		if l.LastUsed != "" {
			fmt.Fprintf(&b, ", last used %s", l.LastUsed[:len(time.DateOnly)])
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nNobody can move them for you: only you have their secrets. For each one that you still need, please\n\n"+
		"  1. sign in and create an API token with the same name at %s\n"+
		"  2. put it in the place of the old one. Your user name stays the same.\n\n"+
		"Scripts that nobody needs any more need nothing.\n", page)
	b.WriteString(strings.Repeat("-", 72) + "\n")
	return b.String()
}
