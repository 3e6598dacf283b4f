// Package openapi holds docs/openapi.yaml to the program: a running one answers as the
// document says, and the document says nothing that is not seen.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// A contract is the document, and what has been seen of it.
type contract struct {
	document *openapi3.T

	mu       sync.Mutex
	answered map[string]bool            // such as "POST /upload/ 201"
	errors   map[string]map[string]bool // errors with their details, by the like
}

// load reads the document and checks that it is valid, examples included.
func load(t *testing.T) *contract {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !document.IsOpenAPI31OrLater() {
		t.Fatalf("version %s", document.OpenAPI)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &contract{document: document, answered: map[string]bool{}, errors: map[string]map[string]bool{}}
}

// send sends a request, and checks that the document has the answer: its status, its header,
// and each field of its body. It returns the body.
func (c *contract) send(t *testing.T, r *http.Request) []byte {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	item := c.document.Paths.Find(r.URL.Path)
	if item == nil || item.GetOperation(r.Method) == nil {
		c.checkElsewhere(t, r, resp, body)
		return body
	}
	key := fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, resp.StatusCode)
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r,
			Route:   &routers.Route{Spec: c.document, Path: r.URL.Path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		},
		Status:  resp.StatusCode,
		Header:  resp.Header,
		Body:    io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s: %v\n%s", key, err, body)
	}
	c.note(key, body)
	return body
}

// checkElsewhere checks the answer to a request that is no operation of the document. It has
// the shape of other errors.
func (c *contract) checkElsewhere(t *testing.T, r *http.Request, resp *http.Response, body []byte) {
	t.Helper()
	var value any
	err := json.Unmarshal(body, &value)
	if err == nil {
		err = c.document.ValidateSchemaJSON(c.document.Components.Schemas["Error"].Value, value, openapi3.EnableJSONSchema2020())
	}
	if err != nil {
		t.Errorf("%s %s: %d %v\n%s", r.Method, r.URL.Path, resp.StatusCode, err, body)
	}
	if resp.StatusCode == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
		t.Errorf("%s %s: no Allow", r.Method, r.URL.Path)
	}
}

// note keeps what has been seen.
func (c *contract) note(key string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered[key] = true
	var answer struct{ Error, Detail string }
	if json.Unmarshal(body, &answer) == nil && answer.Error != "" {
		if c.errors[key] == nil {
			c.errors[key] = map[string]bool{}
		}
		c.errors[key][answer.Error+"\n"+answer.Detail] = true
	}
}

// unseen are answers of the document that the test cannot cause.
var unseen = map[string]string{
	"POST /upload/ 500":           "a bug of the server",
	"POST /upload/auth_info/ 500": "a bug of the server",
}

// checkCoverage checks that each answer of the document has been seen, and each example of an
// error word by word.
func (c *contract) checkCoverage(t *testing.T) {
	t.Helper()
	documented := map[string]bool{}
	for path, item := range c.document.Paths.Map() {
		for method, operation := range item.Operations() {
			for status, response := range operation.Responses.Map() {
				key := fmt.Sprintf("%s %s %s", method, path, status)
				documented[key] = true
				if c.answered[key] == (unseen[key] != "") {
					t.Errorf("%s: seen: %v, to be left out: %q", key, c.answered[key], unseen[key])
				}
				if !c.answered[key] {
					continue
				}
				for mediaType, content := range response.Value.Content {
					for name, example := range content.Examples {
						c.checkExample(t, fmt.Sprintf("%s %s %s", key, mediaType, name), c.errors[key], example.Value.Value)
					}
				}
			}
		}
	}
	for key := range unseen {
		if !documented[key] {
			t.Errorf("the document has no %s", key)
		}
	}
}

// checkExample checks that an example of an error is among those that were seen.
func (c *contract) checkExample(t *testing.T, name string, seen map[string]bool, value any) {
	t.Helper()
	object, ok := value.(map[string]any)
	if !ok || object["error"] == nil {
		return
	}
	if want := fmt.Sprintf("%s\n%s", object["error"], object["detail"]); !seen[want] {
		t.Errorf("%s: no answer has the error and the detail\n%s\nThese were seen:\n%s", name, want,
			strings.Join(slices.Sorted(maps.Keys(seen)), "\n"))
	}
}

// Each schema of an object says which fields there are, and no others.
func TestObjectsAreClosed(t *testing.T) {
	c := load(t)
	for name, schema := range c.document.Components.Schemas {
		if s := schema.Value; s.Type != nil && s.Type.Is("object") && (s.AdditionalProperties.Has == nil || *s.AdditionalProperties.Has) {
			t.Errorf("%s allows any field", name)
		}
	}
}

// The contract finds an answer that the document does not have.
func TestContractFinds(t *testing.T) {
	c := load(t)
	item := c.document.Paths.Find("/__lbheartbeat__")
	for name, a := range map[string]struct {
		status int
		header http.Header
		body   string
		good   bool
	}{
		"good":          {200, http.Header{"X-Request-Id": {"a"}}, `{"status":"ok"}`, true},
		"another field": {200, http.Header{"X-Request-Id": {"a"}}, `{"status":"ok","more":1}`, false},
		"another value": {200, http.Header{"X-Request-Id": {"a"}}, `{"status":"fine"}`, false},
		"no field":      {200, http.Header{"X-Request-Id": {"a"}}, `{}`, false},
		"status":        {418, http.Header{"X-Request-Id": {"a"}}, `{"status":"ok"}`, false},
		"no header":     {200, http.Header{}, `{"status":"ok"}`, false},
		"not JSON":      {200, http.Header{"X-Request-Id": {"a"}}, `ok`, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/__lbheartbeat__", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		a.header.Set("Content-Type", "application/json")
		a.header.Set("Content-Length", strconv.Itoa(len(a.body)))
		err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{
				Request: r, Route: &routers.Route{Spec: c.document, PathItem: item, Method: r.Method, Operation: item.Get},
			},
			Status: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		})
		if (err == nil) != a.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
