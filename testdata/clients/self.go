package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// asClient as the first argument makes this program one of the clients.
const asClient = "as-client"

// lateTime is how long the client that reads late takes to send.
const lateTime = 45 * time.Second

// beClient sends the upload with net/http, or by hand.
func beClient(mode string) {
	answer, err := sendAs(mode)
	if err != nil {
		fmt.Printf("failed: %v\n", err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Printf("failed: %v\n", err)
		return
	}
	fmt.Printf("status: %d\nbody: %s\n", answer.StatusCode, strings.TrimSpace(string(body)))
}

func sendAs(mode string) (*http.Response, error) {
	form, err := os.Open(os.Getenv("FORM"))
	if err != nil {
		return nil, err
	}
	info, err := form.Stat()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, os.Getenv("URL"), form)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", formType)
	if token := os.Getenv("TOKEN"); token != "" {
		request.Header.Set("Auth-Token", token)
	}
	if mode != "chunked" {
		request.ContentLength = info.Size()
	}
	if mode == "late" {
		return sendLate(request)
	}
	return http.DefaultClient.Do(request)
}

// sendLate sends the whole request, at a steady rate, before it reads anything.
func sendLate(request *http.Request) (*http.Response, error) {
	conn, err := dial(request.URL)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(&pacedReader{from: request.Body, size: request.ContentLength, began: time.Now()})
	to := bufio.NewWriterSize(conn, 64<<10)
	if err := cmp.Or(request.Write(to), to.Flush()); err != nil {
		return nil, errors.New("the connection broke while the client was sending") // how it broke is chance
	}
	return http.ReadResponse(bufio.NewReader(conn), request)
}

func dial(to *url.URL) (net.Conn, error) {
	if to.Scheme == "https" {
		return new(tls.Dialer).DialContext(context.Background(), "tcp", to.Host)
	}
	return new(net.Dialer).DialContext(context.Background(), "tcp", to.Host)
}

// pacedReader yields its content in lateTime.
type pacedReader struct {
	from  io.Reader
	size  int64
	read  int64
	began time.Time
}

func (p *pacedReader) Read(b []byte) (int, error) {
	due := time.Duration(float64(p.read) / float64(p.size) * float64(lateTime))
	time.Sleep(time.Until(p.began.Add(due)))
	n, err := p.from.Read(b)
	p.read += int64(n)
	return n, err
}
