package upload

import (
	"net/http"
	"strconv"
	"time"
	"unsafe"

	"spillway/internal/answer"
)

// retryAfter is the time that clients are asked to wait before a retry.
const retryAfter = 30 * time.Second

// timeFormat is ISO 8601 in UTC, always with microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// stored is the answer to a stored upload.
type stored struct {
	Upload storedUpload `json:"upload"`
}

type storedUpload struct {
	ID           int64    `json:"id"`
	Size         int64    `json:"size"` // of the archive, in bytes
	Filename     string   `json:"filename"`
	Bucket       string   `json:"bucket"`
	DownloadURL  *string  `json:"download_url"`
	TrySymbols   bool     `json:"try_symbols"`
	RedirectURLs []string `json:"redirect_urls"`
	CompletedAt  string   `json:"completed_at"`
	CreatedAt    string   `json:"created_at"`
	User         string   `json:"user"`
}

// nameLists are the names in the answer to a stored upload.
type nameLists struct {
	skipped, uploaded, ignored []string
}

// size returns the memory that the lists take with their names, in bytes.
func (l *nameLists) size() (n int64) {
	for _, names := range [][]string{l.skipped, l.uploaded, l.ignored} {
		n += int64(cap(names)) * int64(unsafe.Sizeof(""))
		for _, name := range names {
			n += int64(len(name))
		}
	}
	return n
}

// authInfo is the answer to /upload/auth_info/.
type authInfo struct {
	Email            string `json:"email"`
	UserID           int    `json:"user_id"`
	TrySymbols       bool   `json:"try_symbols"`
	TokenExpiresAt   int64  `json:"token_expires_at"` // seconds since 1970
	UploadAPIVersion int    `json:"upload_api_version"`
}

// respond answers and flushes. The client has answerIdle to read the answer.
func respond(w http.ResponseWriter, status int, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerIdle)) // the server resets it
	send(w, status, v)
}

// send answers and flushes, under the connection's present deadline.
func send(w http.ResponseWriter, status int, v any) {
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	answer.JSON(w, status, v)
	_ = http.NewResponseController(w).Flush()
}

// refuse answers a request that is no upload with an error.
func refuse(w http.ResponseWriter, status int, message, detail string) {
	respond(w, status, answer.Failure{Error: message, Detail: detail})
}
