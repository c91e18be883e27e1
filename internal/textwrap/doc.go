// Package textwrap breaks paragraphs for a terminal of fixed width.
package textwrap
