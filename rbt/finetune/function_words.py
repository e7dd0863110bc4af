"""English words with a grammatical task, lower-cased, by what they do; and what ends a noun phrase."""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


PRONOUNS = _set(
    "he him his himself she her hers herself it its itself they them their theirs themselves"
)
POSSESSIVES = _set("his her hers its their theirs")
DETERMINERS = _set(
    "the a an this that these those some any each every another no my our your his her its their both two"
)
PREPOSITIONS = _set(
    "about above across after against along among around as at before behind below beside between by despite down"
    " during except for from in inside into like near of off on onto out outside over past round since through to"
    " toward towards under until up upon with within without"
)
AUXILIARIES = _set(  # what stands before a verb, or for one
    "am is are was were be been being do does did done have has had having will would shall should can could may might"
    " must not cannot don't doesn't didn't isn't aren't wasn't weren't won't wouldn't can't couldn't hadn't hasn't"
    " haven't shouldn't let"
)
_OTHERS = _set(
    # speakers, and words that ask or point
    "i me mine myself we us ourselves you yours yourself who whom whose which what where when why how there here one"
    " ones someone anyone everyone nobody something anything everything nothing other others"
    # what joins clauses
    " and or nor but so yet if because although though while whereas unless than then whether once"
    # what goes with a verb or an adjective
    " very too much more most less least such also just only even still again never always often already almost"
    " ever perhaps maybe however therefore instead together away back now today tomorrow yesterday yes please well all"
)
PAST = _set(  # of verbs whose past has no ending
    "ate became began bent bit blew bought bound broke brought built burst came caught chose clung cost cut"
    " dealt drank drew drove dug fed fell felt fled flew forgave forgot fought found froze gave got grew held hid"
    " hit hung hurt kept knelt knew laid lay led left lent lit lost made meant met paid put ran rang read rode"
    " rose said sang sank sat saw sent set shook shot shut slept slid sold sought spent split spoke spread sprang"
    " stole stood struck stuck swam swept swore swung taught thought threw told took tore understood upset went"
    " woke won wore wove wrote"
)
ENDS_PHRASE = PRONOUNS | DETERMINERS | PREPOSITIONS | AUXILIARIES | _OTHERS | PAST
VERB_ENDINGS = ("ed", "ing", "ly")  # of verbs, and of what goes with them; before a noun they are seldom
