"""Whether somebody speaks a language that the model has not learned."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from data.vocabulary import Vocabulary

# Common words of each language that are no English ones.
_COMMON = {
    language: frozenset(words.split())
    for language, words in {
        "German": "ich du er wir ihr nicht und ist ein eine einen einem der das dem mit von auf für wie wo oder aber "
        "auch noch wenn weil dass mir dir mich dich sich kein keine bist sind haben habe hast kann kannst möchte "
        "heute englisch deutsch morgen gut danke bitte sehr wer warum wieder "
        "schon immer mein meine dein deine nach beim zum zur wird",
        "French": "je tu il elle nous vous ils elles est suis sont dans avec pas qui une les mais où très bien cette "
        "mon ma ton ta être avoir fait faire veux peux dois aujourd hui bonjour merci beaucoup quoi comment pourquoi "
        "aussi toujours jamais rien tout quand parle parler anglais français ça chez aux du sur ne es ai as était",
        "Spanish": "que el los las por una pero más muy yo tú eres soy está estoy estás tengo tienes quiero quieres "
        "puedo puedes cuando donde dónde porque qué cómo hay "
        "nada todo esto gracias gusta mucho también siempre nunca "
        "hoy ahora bien buenos hablar hablas hablo español inglés mi tu de la en es un con para como se lo te al del",
        "Italian": "che il gli va tutto una sono sei è ho hai non mi ti per con ma più molto io tu lui lei noi questo "
        "questa inglese italiano dove quando perché cosa sto stai voglio "
        "vuoi posso puoi grazie bene anche sempre mai oggi della "
        "del nel alla di un da parli parlare ciao",
        "Portuguese": "que não uma você eu ele ela nós eles é são está estou tenho tem quero quer posso pode muito "
        "mas mais para por com como onde quando porque também "
        "sempre nunca hoje agora bem obrigado obrigada isso isto "
        "meu minha seu sua falar fala falo inglês português de em um os as da do na no se te",
        "Dutch": "ik jij je hij wij jullie niet een het van en dat zijn ben bent heb hebt heeft kan kunt wil maar "
        "ook nog als omdat mij mijn jouw geen wat waar hoe wie waarom vandaag goed dank veel erg altijd nooit praten "
        "met voor naar bij de",
        "Polish": "nie jest się że jak ale czy mam masz jestem jesteś mnie ciebie co gdzie kiedy dlaczego dzień "
        "dobry dziękuję bardzo proszę tak też już tylko może chcę chcesz wiem po polsku moje mój twój dla przez",
        "Swedish": "jag du han hon vi ni inte och är en ett det som på för med av har kan vill men också mig dig "
        "min din vad var hur varför idag tack mycket bra alltid aldrig prata",
        "Turkish": "ben sen bir ve bu için ne nasıl değil çok var yok mi mı ama ile gibi daha bana sana benim senin "
        "neden nerede zaman teşekkür ederim merhaba iyi evet hayır istiyorum konuşuyor musun",
        "Romanian": "este sunt nu și că eu ești cu pentru mai dar foarte ce unde când cum mulțumesc bine vreau poți "
        "îmi mă te să o un din la pe",
        "English": "the you to and it of that is in what for this on "
        "do not with have be are was but my at we they he "
        "she can how your if about from just would will there who when so no all",
    }.items()
}
_OTHER_ALPHABETS = (
    *(
        "CYRILLIC",
        "GREEK",
        "CJK",
        "HIRAGANA",
        "KATAKANA",
        "HANGUL",
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "THAI",
        "BENGALI",
    ),
    *("TAMIL", "ARMENIAN", "GEORGIAN"),
)
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST_WORDS = 3
_FEWEST_COMMON = 2
_SHARE = 0.5  # of an utterance's words that are common ones of its language
_KNOWN_SHARE = 0.6  # of a language's common words that a vocabulary has which has learned the language


def is_foreign(text: str, vocabulary: Vocabulary) -> bool:
    """Whether most of it is in another language than English, where the vocabulary has English and not that one."""
    known = _known(vocabulary)
    if "English" not in known:
        return False
    if _is_in_other_letters(text):
        return not _has_other_letters(vocabulary)
    return _language_of(text) not in (None, *known)


def _language_of(text: str) -> str | None:
    """None where that is not sure."""
    said = _WORD.findall(unicodedata.normalize("NFC", text).casefold())
    if len(said) < _FEWEST_WORDS:
        return None
    counts = {language: sum(word in common for word in said) for language, common in _COMMON.items()}
    best = max(counts, key=lambda language: counts[language])
    distinct = len({word for word in said if word in _COMMON[best]})
    is_sure = distinct >= _FEWEST_COMMON and counts[best] > _SHARE * len(said) and counts[best] > 2 * counts["English"]
    return best if is_sure else None


def _is_in_other_letters(text: str) -> bool:
    letters = [sign for sign in text if sign.isalpha()]
    other = sum(map(_is_other, letters))
    return other >= 2 and 2 * other > len(letters)


@lru_cache(4_096)
def _is_other(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_OTHER_ALPHABETS)


@lru_cache(4)
def _known(vocabulary: Vocabulary) -> frozenset[str]:
    """The languages that a vocabulary has learned."""
    held = Counter({name: sum(word in vocabulary for word in words) for name, words in _COMMON.items()})
    return frozenset(name for name, words in _COMMON.items() if held[name] >= _KNOWN_SHARE * len(words))


@lru_cache(4)
def _has_other_letters(vocabulary: Vocabulary) -> bool:
    return sum(map(_is_in_other_letters, vocabulary.tokens)) >= 0.01 * len(vocabulary)
