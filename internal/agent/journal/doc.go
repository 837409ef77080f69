// Package journal keeps on disk what the agent knows of its tasks (bbolt, one
// file), so that an agent that was killed finds them again. A write is durable
// when Put returns, and all records of one Put become durable together.
package journal
