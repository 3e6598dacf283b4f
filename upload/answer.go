package upload

import (
	"net/http"
	"strconv"
	"time"
	"unsafe"

	"spillway/internal/answer"
)

// retryAfter is what clients are asked to wait before they try again.
const retryAfter = 30 * time.Second

// timeFormat is ISO 8601 in UTC, always with microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// stored is the body of the answer to an upload that is stored.
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

// lists are the names at the end of the answer to an upload that is stored.
type lists struct {
	skipped, uploaded, ignored []string
}

// size is the memory that l takes with its names, in bytes.
func (l *lists) size() (n int64) {
	for _, names := range [][]string{l.skipped, l.uploaded, l.ignored} {
		n += int64(cap(names)) * int64(unsafe.Sizeof(""))
		for _, name := range names {
			n += int64(len(name))
		}
	}
	return n
}

// authInfo is the body of the answer to /upload/auth_info/.
type authInfo struct {
	Email            string `json:"email"`
	UserID           int    `json:"user_id"`
	TrySymbols       bool   `json:"try_symbols"`
	TokenExpiresAt   int64  `json:"token_expires_at"` // seconds since 1970
	UploadAPIVersion int    `json:"upload_api_version"`
}

// respond answers at once, within answerIdle.
func respond(w http.ResponseWriter, status int, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerIdle)) // the server takes it back
	send(w, status, v)
}

// send answers at once, under the deadline that the connection has.
func send(w http.ResponseWriter, status int, v any) {
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	answer.JSON(w, status, v)
	_ = http.NewResponseController(w).Flush()
}

// refuse answers that something went wrong, at once.
func refuse(w http.ResponseWriter, status int, message string) {
	respond(w, status, answer.Failure{Error: message})
}
