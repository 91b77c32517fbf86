// The framework alone.
export {}
