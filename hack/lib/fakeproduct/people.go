package fakeproduct

// People returns the users of the demo and of the tests. alice is the first; she has the given personal access token.
func People(pat string) []User {
	return []User{
		{Name: "alice", DisplayName: "Alice", Password: "alices password", PATs: []string{pat}},
		{Name: "bob", DisplayName: "Bob", Password: "bobs password"},
		{Name: "carol", DisplayName: "Carol", Password: "carols password"},
		{Name: "dave", DisplayName: "Dave", Password: "daves password"},
	}
}
