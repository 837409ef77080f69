// Package sessions issues temporary credentials and reads them back.
package sessions
