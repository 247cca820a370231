package rest

// MaxBody is the most that a request may have.
const MaxBody = maxBody

// Wish is what a new token is to be, and Decode reads it.
type Wish = wish

var Decode = decode

// Document is the description of the API.
var Document = document

// Routes are the operations: method and path.
func Routes() (all [][2]string) {
	for _, r := range routes {
		all = append(all, [2]string{r.method, r.path})
	}
	return all
}
