package upload

import (
	"fmt"
	"maps"
	"net/http"

	"spillway/internal/answer"
)

// maxHeader bounds the header of a request, in bytes. The HTTP server itself refuses headers
// that are much longer.
const maxHeader = 16 << 10

// LimitHeader refuses requests whose header is too long, and passes the others to next.
func LimitHeader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if headerLength(r) <= maxHeader {
			next.ServeHTTP(w, r)
			return
		}
		answer.WithoutBody(w, r)
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("The header of the request is longer than the %s that it may have.", size(maxHeader)),
			"Send the fields that an upload needs, and no more.")
	})
}

// headerLength returns the length of a request's header in bytes: the request line, the
// fields and the empty line.
func headerLength(r *http.Request) int {
	first := len(r.Method) + len(" ") + len(r.RequestURI) + len(" ") + len(r.Proto) + len("\r\n")
	return first + fieldsLength(map[string][]string{"Host": {r.Host}}) + fieldsLength(r.Header) + len("\r\n")
}

// shedHeader drops header fields that are not needed once an upload waits for its turn. They
// may be most of the memory that it takes then.
func shedHeader(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool {
		return name != "Connection" && name != "Expect" // the server reads them when it answers
	})
}
