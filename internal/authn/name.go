package authn

// APITokenName names one APIToken, and not another one that comes to have its name.
type APITokenName struct{ Namespace, Name, UID string }

func (t *Token) name() APITokenName {
	return APITokenName{Namespace: t.Namespace, Name: t.Name, UID: t.UID}
}
