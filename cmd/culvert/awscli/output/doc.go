// Package output prints results in the forms of the AWS CLI (JSON, text, tables and YAML), and queries them with
// JMESPath. Results are trees of [Object], []any and scalars.
//
// It knows no operation and no wire format.
package output
