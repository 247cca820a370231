package selection

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Age is a flag for a length of time: in days or weeks, or as Go writes it.
type Age time.Duration

const day = 24 * time.Hour

// Set reads the flag.
func (a *Age) Set(text string) error {
	d, err := parse(text)
	if err != nil || d <= 0 {
		return errors.New("want a length of time such as 90d, 12w or 36h")
	}
	*a = Age(d)
	return nil
}

func parse(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseUint(number, 10, 16) // 65535 weeks fit into a Duration
			return time.Duration(n) * length, err
		}
	}
	return time.ParseDuration(text)
}

// String returns the length as it can be set.
func (a *Age) String() string {
	switch d := time.Duration(*a); {
	case d == 0:
		return ""
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	default:
		return d.String()
	}
}

// Type names the flag's values in the help.
func (a *Age) Type() string { return "age" }
