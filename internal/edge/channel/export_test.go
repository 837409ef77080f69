package channel

// Runs says whether Run has begun, so that sessions are taken.
func (s *Server) Runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx != nil
}
