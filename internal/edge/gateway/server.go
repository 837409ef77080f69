package gateway

import (
	"log/slog"
	"net/http"
	"time"
)

// Server returns an http.Server for h at addr with the limits that a door to
// strangers needs: slow heads and bodies are cut off, and no answer can take
// longer than a request may. It is not started.
func Server(addr string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      RequestTimeout + 30*time.Second, // counts from the end of the head
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
