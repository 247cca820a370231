package rest

// MaxBody is the most that a request may have.
const MaxBody = maxBody

// Document is the description of the API.
var Document = document

// Routes are the operations: method and path.
func Routes() (all [][2]string) {
	for _, r := range routes {
		all = append(all, [2]string{r.method, r.path})
	}
	return all
}
