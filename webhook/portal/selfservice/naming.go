package selfservice

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxNamePrefix leaves room for what comes behind it in a name of an object.
const maxNamePrefix = 30

// namePrefix begins the names of a user's APITokens, so that people know them again. What cannot be part of a name is left out.
func namePrefix(user string) string {
	var b strings.Builder
	for _, c := range []byte(user) {
		switch letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'; {
		case b.Len() == maxNamePrefix:
		case letter:
			b.WriteByte(c)
		case b.Len() > 0 && (c == '.' || c == '-' || c == '_' || c == '@'):
			b.WriteByte('-')
		}
	}
	if name := strings.TrimRight(b.String(), "-"); name != "" {
		return name + "-"
	}
	return "user-"
}

func asStatus(err error, into *apierrors.APIStatus) bool { return errors.As(err, into) }

// refusal says what the schema of APITokens has against one. What can be wrong with a wish was looked at before, so this is the
// second line, and about the owner the first.
func refusal(c metav1.StatusCause) *Problem {
	field := fieldOf(c.Field)
	switch field {
	case "user":
		return problem(Conflict, "Your user name cannot have API tokens: %s.", messageOf(c))
	case "":
		return invalid("", "This API token cannot be: %s.", messageOf(c))
	}
	return invalid(field, "%s is not as it should be: %s.", field, messageOf(c))
}

// fieldOf is the field of a request that a field of an APIToken comes from.
func fieldOf(path string) string {
	name := strings.TrimPrefix(path, "spec.")
	name, _, _ = strings.Cut(name, "[")
	name, _, _ = strings.Cut(name, ".")
	switch name {
	case "spec":
		return ""
	case "expirationTime":
		return "expiresAt"
	}
	return name
}

// messageOf is what the schema says, without the value that it says it of.
func messageOf(c metav1.StatusCause) string {
	message := c.Message
	if strings.HasPrefix(message, "Invalid value: ") {
		if i := strings.LastIndex(message, `": `); i >= 0 {
			message = message[i+len(`": `):]
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(message, "`", ""), "expirationTime", "expiresAt")
}
