package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Download writes an answer that is no JSON to w and returns its size. If it
// fails, what was written is not whole.
func (c *Client) Download(ctx context.Context, path string, query url.Values, w io.Writer) (int64, error) {
	r, err := c.request(ctx, Call{Method: http.MethodGet, Path: path, Query: query}, nil)
	if err != nil {
		return 0, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return 0, c.unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return 0, problemOf(response)
	}
	to := &sink{to: w}
	n, err := io.Copy(to, response.Body)
	if to.err != nil {
		return n, to.err
	}
	if err != nil {
		return n, c.unreachable(fmt.Errorf("reading the answer: %w", err))
	}
	return n, nil
}

// sink tells failures to write from failures to read.
type sink struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
