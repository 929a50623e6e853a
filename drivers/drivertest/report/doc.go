// Package report says what became of the checks of a driver, for people (text, HTML) and for programs (JUnit, JSON):
// each check, and each sentence of the contract, with what a driver that failed was asked and answered. It must never
// know how anything is checked.
package report
