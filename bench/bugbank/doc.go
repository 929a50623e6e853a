// Package bugbank holds bugs to plant, one at a time, to see that the tests and the
// chaos runs find every one. The bugs are texts in the folder bugs: none is ever in the
// program that is shipped. It must never know how the product works.
package bugbank
